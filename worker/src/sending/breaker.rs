//! The rule that says when a route does not work, from what one process has seen of it. Time is given, so that it can be tried.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use shared::settings;

/// What happens to a route as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session was opened. Says little: a relay that is shutting down still greets.
    Opened,
    /// It dealt with a message, whatever it said about the recipient.
    Carried,
    /// It could not be reached, refused us, or broke off.
    Failed,
}

/// Failures since the route last carried a message.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: VecDeque<Instant>,
    opened: usize,
}

impl Breaker {
    /// Notes an event. True: the route must not be used for a while. That is after so many failures within the window, without a carried
    /// message between them, if no more sessions were opened meanwhile: a relay that takes twenty connections and refuses the
    /// twenty-first works.
    pub fn note(&mut self, event: Event, now: Instant, settings: &settings::Breaker) -> bool {
        match event {
            Event::Opened => self.opened += 1,
            Event::Carried => {
                self.failures.clear();
                self.opened = 0;
            }
            Event::Failed => {
                let window = Duration::from_secs_f64(settings.window_seconds);
                while self.failures.front().is_some_and(|first| now.duration_since(*first) > window) {
                    self.failures.pop_front();
                }
                self.failures.push_back(now);
                if self.failures.len() >= settings.failures && self.failures.len() >= self.opened {
                    *self = Self::default();
                    return true;
                }
                // More say nothing new.
                while self.failures.len() > settings.failures.max(self.opened) {
                    self.failures.pop_front();
                }
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::settings::Settings;

    fn trips(events: &[(u64, Event)]) -> Vec<bool> {
        let settings = Settings::sample().sending.breaker;
        let begun = Instant::now();
        let mut breaker = Breaker::default();
        events.iter().map(|(second, event)| breaker.note(*event, begun + Duration::from_secs(*second), &settings)).collect()
    }

    #[test]
    fn five_failures_in_ten_seconds_open_it_and_it_begins_anew() {
        let failures: Vec<_> = (0..9).map(|second| (second, Event::Failed)).collect();
        assert_eq!(trips(&failures), [false, false, false, false, true, false, false, false, false]);
    }

    #[test]
    fn failures_far_apart_or_around_a_carried_message_do_not() {
        let rare: Vec<_> = (0..50).map(|n| (n * 3, Event::Failed)).collect();
        assert!(!trips(&rare).contains(&true));
        let between: Vec<_> = (0..50).map(|n| (0, if n % 5 == 4 { Event::Carried } else { Event::Failed })).collect();
        assert!(!trips(&between).contains(&true));
    }

    #[test]
    fn a_relay_that_takes_twenty_connections_and_refuses_more_works() {
        let mut events = vec![(0, Event::Opened); 20];
        events.extend([(0, Event::Failed); 12]);
        assert!(!trips(&events).contains(&true));
    }

    #[test]
    fn a_relay_that_greets_and_then_refuses_every_message_does_not_work() {
        let events: Vec<_> = (0..10).map(|n| (0, if n % 2 == 0 { Event::Opened } else { Event::Failed })).collect();
        assert_eq!(trips(&events).iter().position(|trips| *trips), Some(9), "the fifth failure");
    }
}
