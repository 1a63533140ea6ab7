//! What holds for one route, provider, domain and workspace.
//!
//! A message stands in several levels at once, each with limits and counts of its own: its workspace, its route, its **unit**, its domain, and
//! its route to its provider. The unit is the provider, or the domain where no provider is known; the default is a unit's, so that a thousand
//! domains of one provider share one limit. Of what is no limit (retries, age, messages a connection) the most particular level decides.

use std::{collections::HashMap, sync::Arc};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{
    OTHER,
    file::{RetryPart, Values, WarmUp},
    provider_scope,
    rules::Rules,
};
use crate::{deliveries::destination::Destination, settings::Retry};

/// Whose a message is, and which way it takes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The recipient's domain.
    pub domain: &'a str,
    /// Who runs it, where that is known.
    pub provider: Option<&'a Arc<str>>,
    /// The route.
    pub route_id: Uuid,
    /// The route's name.
    pub route: &'a str,
    /// The route's own rate.
    pub route_rate: Option<f64>,
    /// Whose campaign it is.
    pub workspace_id: Uuid,
    /// Business time.
    pub now: DateTime<Utc>,
}

/// What kind of level: who must wait if it refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The sender's own: nobody of this chunk goes.
    Own,
    /// The destination's: the others go on.
    Destination,
}

/// One level's limits; each counts by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Level {
    /// The name of its counts.
    pub scope: Arc<str>,
    /// Who must wait.
    pub kind: Kind,
    /// Over all workers.
    pub connections: Option<u32>,
    /// Messages.
    pub per_second: Option<f64>,
    /// Messages.
    pub per_minute: Option<f64>,
    /// Messages of a calendar hour.
    pub per_hour: Option<u32>,
    /// Messages of a calendar day, UTC.
    pub per_day: Option<u32>,
}

/// Everything that holds for a message.
#[derive(Clone, Debug)]
pub struct Shape {
    /// The provider's name; [`OTHER`] where none is known.
    pub provider: Arc<str>,
    /// The provider's scope, or the domain.
    pub unit: Arc<str>,
    /// The route to the provider, or the unit where no provider is known.
    pub way: Arc<str>,
    /// Limits; a level without any is not among them.
    pub levels: Vec<Level>,
    /// Messages of the unit over one connection.
    pub messages_per_connection: Option<u32>,
    /// When a deferred recipient is tried again.
    pub retry: Retry,
    /// Nothing starts before, as far as is known.
    pub held_until: Option<DateTime<Utc>>,
    /// What is deferred is refused for good.
    pub bounces: bool,
}

impl Shape {
    /// Whether any level limits connections.
    #[must_use]
    pub fn limits_connections(&self) -> bool {
        self.levels.iter().any(|level| level.connections.is_some())
    }

    /// Connections that the narrowest level allows.
    #[must_use]
    pub fn connections(&self) -> Option<u32> {
        self.levels.iter().filter_map(|level| level.connections).min()
    }

    /// Messages a second that the narrowest level of the destination allows, over a minute.
    #[must_use]
    pub fn allowed_per_second(&self) -> Option<f64> {
        let of = |level: &Level| level.per_second.into_iter().chain(level.per_minute.map(|rate| rate / 60.0)).reduce(f64::min);
        self.levels.iter().filter(|level| level.kind == Kind::Destination).filter_map(of).reduce(f64::min)
    }
}

impl Rules {
    /// What holds. `states` are the destinations that have a row, by scope: an operator's limits take the place of the file's, what the
    /// replies taught narrows them.
    #[must_use]
    pub fn resolve(&self, asked: &Asked<'_>, states: &HashMap<String, Destination>, retry: &Retry) -> Shape {
        let provider = asked.provider.and_then(|name| self.providers.get_key_value(name));
        let unit: Arc<str> = provider.map_or_else(|| asked.domain.into(), |(name, _)| provider_scope(name).into());
        let domain = self.domains.get(asked.domain);
        let route = provider.and_then(|(name, _)| self.routes.get(asked.route)?.get(&**name));
        let way: Arc<str> = match provider {
            Some(_) => format!("{unit} route:{}", asked.route_id).into(),
            None => unit.clone(),
        };

        let mut of_unit = self.default.clone();
        provider.into_iter().for_each(|(_, matched)| lay(&mut of_unit, &matched.values));
        let mut all = of_unit.clone();
        domain.into_iter().chain(route.map(|(values, _)| values)).for_each(|values| lay(&mut all, values));
        if provider.is_none() {
            // The domain is its own unit: one level for both.
            domain.into_iter().for_each(|values| lay(&mut of_unit, values));
        }

        let mut levels = Vec::with_capacity(5);
        let mut push = |level: Level| {
            if level.is_limit() {
                levels.push(level);
            }
        };
        if let Some(values) = self.workspaces.get(&asked.workspace_id) {
            push(Level::new(format!("workspace:{}", asked.workspace_id).into(), Kind::Own, values));
        }
        let own = Values { per_second: asked.route_rate, ..Values::default() };
        push(Level::new(format!("route:{}", asked.route_id).into(), Kind::Own, &own));
        let mut held_until = None;
        let mut bounces = false;
        let mut destination = |scope: &Arc<str>, values: &Values, warm_up: Option<&WarmUp>| {
            let mut level = Level::new(scope.clone(), Kind::Destination, values);
            if let Some(today) = warm_up.and_then(|warm_up| warm_up.today(asked.now)) {
                level.per_day = Some(level.per_day.map_or(today, |limit| limit.min(today)));
            }
            if let Some(state) = states.get(&**scope) {
                level.narrow(state);
                held_until = held_until.max(state.held_until());
                bounces |= state.bounces;
            }
            push(level);
        };
        destination(&unit, &of_unit, None);
        if provider.is_some() {
            let none = Values::default();
            destination(&asked.domain.into(), domain.unwrap_or(&none), None);
            let (values, warm_up) = route.map_or((&none, None), |(values, warm_up)| (values, warm_up.as_ref()));
            destination(&way, values, warm_up);
        }
        Shape {
            provider: provider.map_or_else(|| OTHER.into(), |(name, _)| name.clone()),
            unit,
            way,
            levels,
            messages_per_connection: all.messages_per_connection.filter(|limit| *limit > 0),
            retry: schedule(retry, &all.retry, all.expire_seconds),
            held_until,
            bounces,
        }
    }
}

/// Puts what `over` says over what is there.
fn lay(under: &mut Values, over: &Values) {
    fn put<T: Copy>(under: &mut Option<T>, over: Option<T>) {
        *under = over.or(*under);
    }
    put(&mut under.connections, over.connections);
    put(&mut under.messages_per_connection, over.messages_per_connection);
    put(&mut under.per_second, over.per_second);
    put(&mut under.per_minute, over.per_minute);
    put(&mut under.per_hour, over.per_hour);
    put(&mut under.per_day, over.per_day);
    put(&mut under.expire_seconds, over.expire_seconds);
    put(&mut under.retry.first_seconds, over.retry.first_seconds);
    put(&mut under.retry.factor, over.retry.factor);
    put(&mut under.retry.jitter, over.retry.jitter);
    put(&mut under.retry.longest_seconds, over.retry.longest_seconds);
}

/// The settings are the level below all; `sending.retry.expire_seconds` ends everybody's time, so that it cannot be longer here.
fn schedule(settings: &Retry, part: &RetryPart, expire_seconds: Option<f64>) -> Retry {
    let longest_seconds = part.longest_seconds.unwrap_or(settings.longest_seconds);
    Retry {
        first_seconds: part.first_seconds.unwrap_or(settings.first_seconds),
        factor: part.factor.unwrap_or(settings.factor),
        jitter: part.jitter.unwrap_or(settings.jitter),
        longest_seconds,
        expire_seconds: expire_seconds.map_or(settings.expire_seconds, |seconds| seconds.min(settings.expire_seconds)),
    }
}

impl WarmUp {
    /// Messages of the ramp's present day; `None`: it is over. Before its first day it is the first.
    fn today(&self, now: DateTime<Utc>) -> Option<u32> {
        let day = (now.date_naive() - self.first_day).num_days().max(0);
        self.per_day.get(usize::try_from(day).ok()?).copied()
    }
}

impl Level {
    fn new(scope: Arc<str>, kind: Kind, values: &Values) -> Self {
        Self {
            scope,
            kind,
            connections: values.connections.filter(|limit| *limit > 0),
            per_second: values.per_second.filter(|rate| *rate > 0.0),
            per_minute: values.per_minute.filter(|rate| *rate > 0.0),
            per_hour: values.per_hour.filter(|limit| *limit > 0),
            per_day: values.per_day.filter(|limit| *limit > 0),
        }
    }

    fn narrow(&mut self, state: &Destination) {
        self.per_second = state.rate_per_second.or(self.per_second);
        self.per_second = self.per_second.into_iter().chain(state.adaptive_rate).reduce(f64::min);
        let set = state.max_connections.and_then(|limit| u32::try_from(limit).ok());
        self.connections = set.or(self.connections);
        let learnt = state.adaptive_connections.and_then(|limit| u32::try_from(limit).ok());
        self.connections = self.connections.into_iter().chain(learnt).min();
    }

    fn is_limit(&self) -> bool {
        self.connections.is_some()
            || self.per_second.is_some()
            || self.per_minute.is_some()
            || self.per_hour.is_some()
            || self.per_day.is_some()
    }

    /// Whether hours or days count.
    #[must_use]
    pub fn is_counted(&self) -> bool {
        self.per_hour.is_some() || self.per_day.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::settings::Settings;

    const WORKSPACE: Uuid = Uuid::from_u128(7);

    fn asked<'a>(domain: &'a str, provider: Option<&'a Arc<str>>, now: &str) -> Asked<'a> {
        Asked {
            domain,
            provider,
            route_id: Uuid::from_u128(1),
            route: "relay",
            route_rate: None,
            workspace_id: WORKSPACE,
            now: now.parse().expect("a time"),
        }
    }

    fn rules(text: &str) -> Rules {
        Rules::from_texts("", Some(text)).expect("well-formed")
    }

    fn resolve(rules: &Rules, asked: &Asked<'_>, states: &HashMap<String, Destination>) -> Shape {
        rules.resolve(asked, states, &Settings::sample().sending.retry)
    }

    fn level(shape: &Shape, scope: &str) -> Level {
        shape.levels.iter().find(|level| &*level.scope == scope).cloned().unwrap_or_else(|| panic!("{scope} in {shape:?}"))
    }

    const FILE: &str = r#"
        [default]
        connections = 10
        messages_per_connection = 100
        retry = { first_seconds = 60.0 }
        [provider.google]
        domains = ["gmail.com"]
        mx_suffixes = [".google.com"]
        connections = 5
        per_minute = 600.0
        [provider.free]
        domains = ["free.test"]
        connections = 0
        [domain."example.com"]
        per_hour = 100
        retry = { factor = 3.0 }
        [route."relay".google]
        per_second = 2.0
        messages_per_connection = 20
        warm_up = { first_day = "2026-01-10", per_day = [50, 100] }
        [workspace."00000000-0000-0000-0000-000000000007"]
        per_second = 50.0
    "#;
    const ROUTE: &str = "provider:google route:00000000-0000-0000-0000-000000000001";

    #[test]
    fn each_level_limits_by_itself_and_the_default_is_the_units() {
        let (rules, google) = (rules(FILE), Arc::from("google"));
        let shape = resolve(&rules, &asked("example.com", Some(&google), "2026-02-01T00:00:00Z"), &HashMap::new());
        let scopes: Vec<&str> = shape.levels.iter().map(|level| &*level.scope).collect();
        assert_eq!(scopes, ["workspace:00000000-0000-0000-0000-000000000007", "provider:google", "example.com", ROUTE]);
        let unit = level(&shape, "provider:google");
        assert_eq!((unit.connections, unit.per_minute, unit.per_hour), (Some(5), Some(600.0), None));
        let domain = level(&shape, "example.com");
        assert_eq!((domain.connections, domain.per_hour), (None, Some(100)), "the default is not a domain's inside a provider");
        assert_eq!((shape.messages_per_connection, shape.retry.first_seconds, shape.retry.factor), (Some(20), 60.0, 3.0));
        let own = resolve(&rules, &asked("example.com", None, "2026-02-01T00:00:00Z"), &HashMap::new());
        let unit = level(&own, "example.com");
        assert_eq!((unit.connections, unit.per_hour, &*own.unit, &*own.way), (Some(10), Some(100), "example.com", "example.com"));
        let free = Arc::from("free");
        let free = resolve(&rules, &asked("free.test", Some(&free), "2026-02-01T00:00:00Z"), &HashMap::new());
        assert_eq!(free.connections(), None, "0 takes a limit away");
    }

    #[test]
    fn a_ramp_raises_the_day_and_ends() {
        let (rules, google) = (rules(FILE), Arc::from("google"));
        let today = |now: &str| level(&resolve(&rules, &asked("gmail.com", Some(&google), now), &HashMap::new()), ROUTE).per_day;
        assert_eq!(today("2026-01-01T12:00:00Z"), Some(50), "before its time as on its first day");
        assert_eq!(today("2026-01-10T23:59:59Z"), Some(50));
        assert_eq!(today("2026-01-11T00:00:00Z"), Some(100));
        assert_eq!(today("2026-01-12T00:00:00Z"), None);
    }

    #[test]
    fn an_operators_limits_replace_the_files_and_replies_narrow_both() {
        let (rules, google) = (rules(FILE), Arc::from("google"));
        let state = Destination {
            max_connections: Some(8),
            adaptive_rate: Some(0.5),
            adaptive_connections: Some(1),
            ..Destination::of("provider:google")
        };
        let states = HashMap::from([(state.domain.clone(), state)]);
        let unit = level(&resolve(&rules, &asked("gmail.com", Some(&google), "2026-02-01T00:00:00Z"), &states), "provider:google");
        assert_eq!((unit.connections, unit.per_second, unit.per_minute), (Some(1), Some(0.5), Some(600.0)));
    }

    fn any_values() -> impl Strategy<Value = (Option<u32>, Option<f64>, Option<u32>)> {
        (proptest::option::of(0_u32..50), proptest::option::of(0.1_f64..1000.0), proptest::option::of(0_u32..5000))
    }

    proptest! {
        #[test]
        fn whatever_is_written_no_level_is_wider_than_its_own_block(
            default in any_values(), provider in any_values(), learnt in proptest::option::of(0.1_f64..1000.0), known: bool
        ) {
            let block = |(connections, per_second, per_day): (Option<u32>, Option<f64>, Option<u32>)| {
                let mut text = String::new();
                connections.into_iter().for_each(|n| text += &format!("connections = {n}\n"));
                per_second.into_iter().for_each(|n| text += &format!("per_second = {n:?}\n"));
                per_day.into_iter().for_each(|n| text += &format!("per_day = {n}\n"));
                text
            };
            let rules = rules(&format!("[default]\n{}[provider.p]\ndomains = [\"p.test\"]\n{}", block(default), block(provider)));
            let name = Arc::from("p");
            let asked = asked("p.test", known.then_some(&name), "2026-02-01T00:00:00Z");
            let scope = if known { "provider:p" } else { "p.test" };
            let state = Destination { adaptive_rate: learnt, ..Destination::of(scope) };
            let shape = resolve(&rules, &asked, &HashMap::from([(scope.to_owned(), state)]));
            let wanted = if known { provider.0.or(default.0) } else { default.0 }.filter(|n| *n > 0);
            prop_assert_eq!(shape.connections(), wanted);
            if let Some(learnt) = learnt {
                prop_assert!(shape.allowed_per_second().is_some_and(|rate| rate <= learnt));
            }
            prop_assert!(shape.levels.iter().all(Level::is_limit), "a level without a limit costs nothing");
            prop_assert_eq!(shape.held_until, None);
        }
    }
}
