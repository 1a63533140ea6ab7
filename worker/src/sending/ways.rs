//! Which route a chunk takes: the campaign's own, or by weight among those that work.
//!
//! Weights share recipients, not chunks: each route has had so many for its weight, and the one that has had least is next. A route that
//! was away begins where the others are, so that it does not get everything until it has caught up. A chunk is counted when its way is
//! chosen, so that of several that choose at once each knows of the others; who did not go after all is given back.

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{guide::Guide, guide::Road, health::Health};

/// What each route has had.
#[derive(Default)]
struct Shares {
    served: HashMap<Uuid, f64>,
    /// Where the route that was taken last began.
    begun: f64,
}

impl Shares {
    fn start(&self, road: &Road) -> f64 {
        self.served.get(&road.id).copied().unwrap_or(0.0).max(self.begun)
    }

    /// The one that has had least first; those of weight 0 last.
    fn order(&self, roads: &mut [Arc<Road>]) {
        roads.sort_by(|a, b| {
            (a.weight == 0)
                .cmp(&(b.weight == 0))
                .then_with(|| self.start(a).total_cmp(&self.start(b)))
                .then_with(|| b.weight.cmp(&a.weight))
                .then_with(|| a.id.cmp(&b.id))
        });
    }

    fn count(&mut self, road: &Road, recipients: usize) {
        if road.weight == 0 {
            return;
        }
        let start = self.start(road);
        self.begun = start;
        self.served.insert(road.id, start + portion(road, recipients));
    }

    fn give_back(&mut self, road: &Road, recipients: usize) {
        if road.weight > 0
            && let Some(served) = self.served.get_mut(&road.id)
        {
            *served -= portion(road, recipients);
        }
    }
}

fn portion(road: &Road, recipients: usize) -> f64 {
    f64::from(u32::try_from(recipients).unwrap_or(u32::MAX)) / f64::from(road.weight)
}

/// Recipients that are counted for a route before they go by it. Those that did not are given back when it is dropped.
pub struct Booking<'a> {
    ways: &'a Ways,
    road: Arc<Road>,
    /// Counted, and not gone.
    open: usize,
}

impl Booking<'_> {
    /// They take this route instead.
    pub fn turn_to(&mut self, road: &Arc<Road>) {
        if self.road.id != road.id {
            let mut shares = self.ways.shares.lock();
            shares.give_back(&self.road, self.open);
            shares.count(road, self.open);
            self.road = road.clone();
        }
    }

    /// All but `left` of them went.
    pub fn went_but(mut self, left: usize) {
        self.open = left.min(self.open);
    }
}

impl Drop for Booking<'_> {
    fn drop(&mut self) {
        self.ways.shares.lock().give_back(&self.road, self.open);
    }
}

/// The ways of this process.
pub struct Ways {
    guide: Arc<Guide>,
    health: Arc<Health>,
    shares: Mutex<Shares>,
}

impl Ways {
    /// Nobody has had anything yet.
    #[must_use]
    pub fn new(guide: Arc<Guide>, health: Arc<Health>) -> Self {
        Self { guide, health, shares: Mutex::default() }
    }

    /// Routes that a campaign may take now, the best first: its own alone if it pins one, else those that work and are not in `but`.
    #[must_use]
    pub fn open_to(&self, pinned: Option<Uuid>, but: &[Uuid]) -> Vec<Arc<Road>> {
        let mut roads = self.working(pinned, but);
        self.shares.lock().order(&mut roads);
        roads
    }

    /// Ids of the routes that work.
    #[must_use]
    pub fn open(&self) -> Vec<Uuid> {
        self.working(None, &[]).iter().map(|road| road.id).collect()
    }

    fn working(&self, pinned: Option<Uuid>, but: &[Uuid]) -> Vec<Arc<Road>> {
        let roads = self.guide.roads();
        let working = roads
            .iter()
            .filter(|road| pinned.is_none_or(|id| road.id == id) && !but.contains(&road.id) && !self.health.is_open(road.id));
        working.cloned().collect()
    }

    /// The same for so many recipients, which are counted for the best of them. None: no route is open.
    #[must_use]
    pub fn book(&self, pinned: Option<Uuid>, recipients: usize) -> Option<(Vec<Arc<Road>>, Booking<'_>)> {
        let mut roads = self.working(pinned, &[]);
        let mut shares = self.shares.lock();
        shares.order(&mut roads);
        let road = roads.first()?.clone();
        shares.count(&road, recipients);
        Some((roads, Booking { ways: self, road, open: recipients }))
    }

    /// Why no route is open, and when it is worth asking again. Jobs that say so are due as soon as a route is mended.
    #[must_use]
    pub fn closed(&self, pinned: Option<Uuid>) -> (Duration, String) {
        let roads = self.guide.roads();
        let wait =
            roads.iter().filter(|road| pinned.is_none_or(|id| road.id == id)).filter_map(|road| self.health.wait(road.id)).min();
        let what = match (pinned, wait) {
            (Some(_), None) => "the campaign's route is disabled or cannot be used",
            (Some(_), Some(_)) => "the campaign's route does not work",
            (None, None) => "there is no route that can be used",
            (None, Some(_)) => "no route works",
        };
        // Not all at the same moment; and no longer than a person would wait, should nobody bring them forward.
        let wait = wait.unwrap_or(Duration::from_secs(5)).clamp(Duration::from_secs(2), Duration::from_secs(15));
        (wait.mul_f64(rand::random_range(1.0..1.5)), format!("{}{what}", shared::routes::health::WAITS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::smtp::TlsMode;

    fn road(id: u128, weight: u32) -> Arc<Road> {
        Arc::new(Road {
            id: Uuid::from_u128(id),
            name: format!("relay {id}"),
            host: "127.0.0.1".to_owned(),
            port: 25,
            tls: TlsMode::None,
            username: None,
            password: None,
            max_connections: 10,
            rate_per_second: None,
            weight,
        })
    }

    fn shared_out(shares: &mut Shares, roads: &[Arc<Road>], chunks: usize) -> Vec<usize> {
        let mut had = vec![0; roads.len()];
        for chunk in 0..chunks {
            let mut order = roads.to_vec();
            shares.order(&mut order);
            // Chunks of many sizes.
            let recipients = 1 + (chunk * 7919) % 500;
            shares.count(&order[0], recipients);
            had[roads.iter().position(|road| road.id == order[0].id).expect("one of them")] += recipients;
        }
        had
    }

    #[test]
    fn weights_share_recipients_to_within_a_chunk() {
        let roads = [road(1, 3), road(2, 1)];
        let had = shared_out(&mut Shares::default(), &roads, 1_000);
        let quarter = (had[0] + had[1]) / 4;
        assert!(had[1].abs_diff(quarter) <= 500, "{had:?}");
    }

    #[test]
    fn a_route_that_was_away_gets_its_share_and_not_what_it_missed() {
        let (mut shares, roads) = (Shares::default(), [road(1, 1), road(2, 1)]);
        shared_out(&mut shares, &roads, 100);
        shared_out(&mut shares, &roads[..1], 1_000);
        let had = shared_out(&mut shares, &roads, 100);
        assert!(had[0].abs_diff(had[1]) <= 1_000, "{had:?}");
    }

    #[test]
    fn recipients_that_did_not_go_are_not_counted() {
        let (mut shares, roads) = (Shares::default(), [road(1, 1), road(2, 1)]);
        // Every second chunk finds its route full.
        for turn in 0..1_000 {
            let mut order = roads.to_vec();
            shares.order(&mut order);
            shares.count(&order[0], 100);
            if turn % 2 == 1 {
                shares.give_back(&order[0], 100);
            }
        }
        let had = shared_out(&mut shares, &roads, 1_000);
        assert!(had[0].abs_diff(had[1]) <= 600, "{had:?}");
    }

    #[test]
    fn a_route_of_weight_0_comes_last() {
        let mut roads = [road(1, 0), road(2, 1), road(3, 5)];
        Shares::default().order(&mut roads);
        assert_eq!(roads.map(|road| road.weight), [5, 1, 0]);
    }
}
