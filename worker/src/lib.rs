//! The worker: runs what was queued and what is due. No HTTP comes in but `/metrics` and `/health`.
//!
//! Read in this order: [`process`] puts a worker together and takes it apart. [`lane`] is the one file that knows apalis' workers: a
//! ticket comes in. [`desk`] claims a job for it, runs it in a task of its own and ends it. [`run`] is what a job sees. [`registry`] lists
//! every kind of job, [`schedule`] everything periodic. [`heart`] keeps leases alive, [`bell`] rings for work. [`sending`] is the machinery
//! of [`jobs`]' heaviest one, [`verification`] what the DNS of a sending domain says, [`clients`] the outside world, [`metrics`] what it all
//! looks like from outside, [`stages`] where processor time goes, [`operate`] what an operator does at the command line, [`inbound`] takes
//! what comes back, [`doctor`] what it all stands on.

pub mod bell;
pub mod clients;
pub mod desk;
pub mod doctor;
pub mod heart;
pub mod inbound;
pub mod jobs;
pub mod lane;
pub mod metrics;
pub mod operate;
pub mod parse_bounce;
pub mod process;
pub mod registry;
pub mod run;
pub mod schedule;
pub mod sending;
pub mod stages;
pub mod verification;
