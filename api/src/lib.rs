//! HTTP in, one call into `shared`, JSON out. No SQL and no job runs here.
//!
//! [`routes`] lists every route. [`extract`] and [`caller`] are what handlers take, [`error`] is what they fail with, [`state`] what
//! they share. [`openapi`] describes all of it; [`page`] is what people see behind links in mails. [`request`] wraps each request: id,
//! span, metrics, panics; [`front`] is what stands between it and a handler. [`events`] tells whoever watches a job or a campaign that it
//! has changed. [`serve`] is the process: listeners, waiting for PostgreSQL, shutdown. [`operate`] is what an operator does at the
//! command line.

pub mod amazon;
pub mod caller;
pub mod error;
pub mod events;
pub mod extract;
pub mod front;
pub mod openapi;
pub mod operate;
pub mod page;
pub mod request;
pub mod routes;
pub mod serve;
pub mod state;

pub use routes::router;
pub use state::AppState;
