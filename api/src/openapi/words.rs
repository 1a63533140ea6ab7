//! Enumerations of the document that stand as constants in `shared`: for `schema_with`.

use shared::{deliveries::listing, imports::import, queue::inspect};
use utoipa::openapi::schema::{Object, ObjectBuilder, Type};

fn one_of(words: &[&str]) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words.iter().copied())).build()
}

/// States of a job.
#[must_use]
pub fn job_state() -> Object {
    one_of(&inspect::STATES)
}

/// States of an import.
#[must_use]
pub fn import_state() -> Object {
    one_of(&import::STATES)
}

/// States of a delivery.
#[must_use]
pub fn delivery_state() -> Object {
    one_of(&listing::STATES)
}

/// What a filter of deliveries takes.
#[must_use]
pub fn delivery_filter() -> Object {
    let words: Vec<&str> = listing::STATES.into_iter().chain([listing::COMPLAINED]).collect();
    one_of(&words)
}

/// States of a recipient: those of a delivery, or nothing was tried yet.
#[must_use]
pub fn recipient_state() -> Object {
    let words: Vec<&str> = listing::STATES.into_iter().chain(["pending"]).collect();
    one_of(&words)
}
