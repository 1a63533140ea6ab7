//! What holds for a message, kept by route, workspace and domain until anything that it follows from changes.

use std::{collections::HashMap, sync::Arc};

use chrono::NaiveDate;
use parking_lot::RwLock;
use shared::{
    clock::Clock,
    deliveries::{
        destination::Destination,
        shaping::{Asked, OTHER, Rules, Shape, provider_scope},
    },
    settings::Retry,
};
use uuid::Uuid;

use super::{
    guide::Road,
    limiter::{Limiter, Till},
    providers::Providers,
    rule_book::RuleBook,
};

/// More of a route and workspace are not kept.
const MOST: usize = 200_000;

/// A shape, and where its tokens are bought.
pub struct Shaped {
    /// What holds.
    pub shape: Shape,
    /// Tokens of all its levels.
    pub till: Till,
}

/// By route and workspace, then by domain.
type Shapes = HashMap<(Uuid, Uuid), HashMap<String, Arc<Shaped>>>;

/// What shapes follow from, and those that were asked for since it changed last.
#[derive(Default)]
struct Snapshot {
    rules: Arc<Rules>,
    states: Arc<HashMap<String, Destination>>,
    routes: Vec<(Uuid, String, Option<u64>)>,
    day: NaiveDate,
    shapes: RwLock<Shapes>,
}

/// The shapes of this process.
pub struct Shaper {
    /// The rules.
    pub rule_book: Arc<RuleBook>,
    /// Who runs which domain.
    pub providers: Arc<Providers>,
    /// Tokens.
    pub limiter: Arc<Limiter>,
    retry: Retry,
    clock: Clock,
    snapshot: RwLock<Arc<Snapshot>>,
}

impl Shaper {
    /// Nothing is known of destinations until the first [`Self::look`].
    #[must_use]
    pub fn new(rule_book: RuleBook, providers: Providers, limiter: Limiter, retry: Retry, clock: Clock) -> Self {
        let snapshot = Snapshot { rules: rule_book.rules(), ..Snapshot::default() };
        Self {
            rule_book: Arc::new(rule_book),
            providers: Arc::new(providers),
            limiter: Arc::new(limiter),
            retry,
            clock,
            snapshot: RwLock::new(Arc::new(snapshot)),
        }
    }

    /// Takes up what is known now: shapes are made anew if anything that they follow from has changed.
    pub fn look(&self, states: HashMap<String, Destination>, roads: &[Arc<Road>]) {
        let rules = self.rule_book.rules();
        let routes: Vec<_> =
            roads.iter().map(|road| (road.id, road.name.clone(), road.rate_per_second.map(f64::to_bits))).collect();
        let day = self.clock.now().date_naive();
        let old = self.snapshot.read().clone();
        tell(&rules, &states);
        if Arc::ptr_eq(&old.rules, &rules) && *old.states == states && old.routes == routes && old.day == day {
            return;
        }
        *self.snapshot.write() = Arc::new(Snapshot { rules, states: Arc::new(states), routes, day, shapes: RwLock::default() });
    }

    /// What holds for a message to this domain over this route.
    #[must_use]
    pub fn of(&self, road: &Road, workspace_id: Uuid, domain: &str) -> Arc<Shaped> {
        let snapshot = self.snapshot.read().clone();
        if let Some(shaped) = snapshot.shapes.read().get(&(road.id, workspace_id)).and_then(|shapes| shapes.get(domain)) {
            return shaped.clone();
        }
        let provider = self.providers.of(&snapshot.rules, domain);
        let asked = Asked {
            domain,
            provider: provider.as_ref(),
            route_id: road.id,
            route: &road.name,
            route_rate: road.rate_per_second,
            workspace_id,
            now: self.clock.now(),
        };
        let shape = snapshot.rules.resolve(&asked, &snapshot.states, &self.retry);
        let shaped = Arc::new(Shaped { till: self.limiter.till(&shape.levels), shape });
        let mut shapes = snapshot.shapes.write();
        let of_way = shapes.entry((road.id, workspace_id)).or_default();
        if of_way.len() >= MOST {
            of_way.clear();
        }
        of_way.insert(domain.to_owned(), shaped.clone());
        shaped
    }

    /// Something new is known of these domains.
    pub fn forget(&self, domains: &[String]) {
        if domains.is_empty() {
            return;
        }
        let snapshot = self.snapshot.read().clone();
        for shapes in snapshot.shapes.write().values_mut() {
            for domain in domains {
                shapes.remove(domain);
            }
        }
    }

    /// What is known of the destinations that have a row, by scope.
    #[must_use]
    pub fn states(&self) -> Arc<HashMap<String, Destination>> {
        self.snapshot.read().states.clone()
    }

    /// Business time.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Which providers are suspended, into the metrics: a fixed set of names.
fn tell(rules: &Rules, states: &HashMap<String, Destination>) {
    for name in rules.provider_names() {
        let state = states.get(&provider_scope(name));
        let suspended = state.is_some_and(|state| state.held && state.suspended_until >= state.cooldown_until);
        metrics::gauge!("provider_suspended", "provider" => name.to_string()).set(f64::from(u8::from(suspended)));
    }
    metrics::gauge!("provider_suspended", "provider" => OTHER).set(0.0);
}
