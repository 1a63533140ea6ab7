//! The queue: rows in PostgreSQL that say what is to be done, tickets in Redis that say that there is something to do.
//!
//! [`job`] is the noun: states, enqueue, questions. [`payload`] is what a kind of job is. [`claim`] hands a job to a worker and fences
//! every later write. [`outcome`] ends a run. [`lease`] keeps runs alive and takes them from the dead. [`bell`] says how much there is
//! to do, [`ticket`] is the one file that pushes to Redis. [`lane`] names the lanes, [`fleet`] is who is alive, [`inspect`] what people
//! ask and may do, [`gauges`] what `/metrics` asks, [`prune`] the end of old jobs.

pub mod bell;
pub mod claim;
pub mod fleet;
pub mod gauges;
pub mod inspect;
pub mod job;
pub mod lane;
pub mod lease;
pub mod outcome;
pub mod payload;
pub mod prune;
pub mod ticket;
