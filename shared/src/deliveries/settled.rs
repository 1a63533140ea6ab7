//! Recipients that found their end away from the wire, as `/metrics` counts them: with those that the senders count, every state that a
//! recipient can end in.

/// Adds so many to `deliveries_total`, under no route.
pub fn count(outcome: &'static str, recipients: u64) {
    if recipients > 0 {
        metrics::counter!("deliveries_total", "route" => "", "outcome" => outcome).increment(recipients);
    }
}
