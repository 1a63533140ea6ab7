//! The id that a keyed request gives to what it makes. It stands in the key's row before anything is made, so that a second run after a
//! crash makes nothing new.

use uuid::Uuid;

tokio::task_local! {
    static RESERVED: Uuid;
}

/// Runs a request that makes its thing under `id`.
pub async fn under<F: Future>(id: Uuid, run: F) -> F::Output {
    RESERVED.scope(id, run).await
}

/// The reserved id, or a new one (uuid v7) where the request has no key. For the one thing that a request makes.
#[must_use]
pub fn id() -> Uuid {
    RESERVED.try_with(|id| *id).unwrap_or_else(|_| Uuid::now_v7())
}
