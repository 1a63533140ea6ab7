//! Whether it is worth while to claim a chunk: not while every route that works was found full a moment ago. A claim that finds no connection
//! costs PostgreSQL about as much as one that does; without this, all slots of a process would try again and again for as long as a route is
//! full, which is always where it takes fewer connections than the workers could open.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;
use uuid::Uuid;

/// A route that was found full is not asked again for so long, unless this process gives a connection of it back.
const FULL_FOR: Duration = Duration::from_millis(500);
/// And then by one slot, of which the others hear within so long what it found.
const HEARD_IN: Duration = Duration::from_millis(100);

/// What this process knows of its routes.
#[derive(Default)]
pub struct Room {
    full: Mutex<Full>,
    /// Who asks next.
    turn: tokio::sync::Mutex<()>,
    changed: Notify,
}

/// Until when a route is taken to be full.
#[derive(Default)]
struct Full(HashMap<Uuid, Instant>);

impl Full {
    /// When the first of these routes is worth asking; nothing if one may have room, or there are none.
    fn until(&self, routes: &[Uuid]) -> Option<Instant> {
        let ends = routes.iter().map(|route| self.0.get(route).copied());
        ends.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// How long to wait; nothing: now. Then whoever asks next waits to hear of it.
    fn ask(&mut self, routes: &[Uuid], now: Instant) -> Option<Duration> {
        let wait = self.until(routes)?.saturating_duration_since(now);
        if wait.is_zero() {
            self.0.extend(routes.iter().map(|route| (*route, now + HEARD_IN)));
        }
        Some(wait).filter(|wait| !wait.is_zero())
    }
}

impl Room {
    /// A route had a connection for a chunk, or none.
    pub fn found(&self, route: Uuid, any: bool) {
        if any {
            self.freed(route);
        } else {
            self.full.lock().0.insert(route, Instant::now() + FULL_FOR);
        }
    }

    /// A connection of the route is free.
    pub fn freed(&self, route: Uuid) {
        if self.full.lock().0.remove(&route).is_some() {
            self.changed.notify_one();
        }
    }

    /// Waits while all of these routes are full.
    pub async fn wait(&self, routes: &[Uuid]) {
        if self.full.lock().until(routes).is_none() {
            return;
        }
        let _turn = self.turn.lock().await;
        loop {
            let Some(wait) = self.full.lock().ask(routes, Instant::now()) else { return };
            // It is told once that a connection is free, even if nobody waits at that moment.
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: [Uuid; 2] = [Uuid::from_u128(1), Uuid::from_u128(2)];

    #[test]
    fn nobody_waits_where_a_route_may_have_room() {
        let (mut full, now) = (Full::default(), Instant::now());
        assert_eq!(full.ask(&[], now), None, "that there is no route is somebody else's to tell");
        assert_eq!(full.ask(&ROUTES, now), None);
        full.0.insert(ROUTES[0], now + FULL_FOR);
        assert_eq!(full.ask(&ROUTES, now), None, "the other one");
        assert_eq!(full.ask(&ROUTES[..1], now), Some(FULL_FOR));
    }

    #[test]
    fn a_full_route_is_asked_twice_a_second_however_many_slots_there_are() {
        let (mut full, begun) = (Full::default(), Instant::now());
        full.0.insert(ROUTES[0], begun + FULL_FOR);
        let mut asked = 0;
        for millisecond in 0..10_000 {
            let now = begun + Duration::from_millis(millisecond);
            for _ in 0..16 {
                if full.ask(&ROUTES[..1], now).is_none() {
                    asked += 1;
                    // Nothing, again.
                    full.0.insert(ROUTES[0], now + FULL_FOR);
                }
            }
        }
        assert_eq!(asked, 19);
    }

    #[test]
    fn while_one_asks_the_others_wait_for_what_it_hears() {
        let (mut full, begun) = (Full::default(), Instant::now());
        full.0.insert(ROUTES[0], begun);
        assert_eq!(full.ask(&ROUTES[..1], begun), None);
        assert_eq!(full.ask(&ROUTES[..1], begun), Some(HEARD_IN));
        assert_eq!(full.ask(&ROUTES[..1], begun + HEARD_IN), None, "it may have died");
    }

    #[tokio::test]
    async fn a_connection_that_is_free_again_is_asked_for_at_once() {
        let room = Room::default();
        // Long enough for the test to hang if nobody were told.
        room.full.lock().0.insert(ROUTES[0], Instant::now() + Duration::from_secs(3600));
        tokio::join!(room.wait(&ROUTES[..1]), async {
            tokio::task::yield_now().await;
            room.freed(ROUTES[0]);
        });
        room.wait(&ROUTES[..1]).await;
    }
}
