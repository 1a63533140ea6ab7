//! When a deferred recipient is tried again.

use shared::settings::Retry;

/// Seconds until the next attempt after this many; `None`: its time is over. Doubling with jitter, as the settings say. `roll` is between 0
/// and 1.
#[must_use]
pub fn next_attempt(attempts: i16, age_seconds: f64, settings: &Retry, roll: f64) -> Option<f64> {
    let exponent = i32::from(attempts.max(1)) - 1;
    let delay = (settings.first_seconds * settings.factor.powi(exponent.min(60))).min(settings.longest_seconds);
    let delay = delay * (1.0 + settings.jitter * (2.0 * roll - 1.0));
    (age_seconds + delay <= settings.expire_seconds).then_some(delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::settings::Settings;

    #[test]
    fn retries_double_from_five_minutes_to_four_hours_and_end_after_two_days() {
        let retry = Settings::sample().sending.retry;
        assert_eq!(next_attempt(1, 0.0, &retry, 0.5), Some(300.0));
        assert_eq!(next_attempt(2, 300.0, &retry, 0.5), Some(600.0));
        assert_eq!(next_attempt(12, 9_000.0, &retry, 0.5), Some(14_400.0));
        assert_eq!(next_attempt(20, 172_000.0, &retry, 0.5), None);
    }

    #[test]
    fn jitter_spreads_by_a_tenth() {
        let retry = Settings::sample().sending.retry;
        assert_eq!(next_attempt(1, 0.0, &retry, 0.0), Some(270.0));
        assert_eq!(next_attempt(1, 0.0, &retry, 1.0), Some(330.0));
    }
}
