//! What whoever runs the house asks and does at three in the morning.
//!
//! [`sending`] is the switch that holds all sending back; [`installation`] the proof that this database is the one that sends, and not a
//! restored copy. [`stuck`] looks at lanes and destinations and says what does not move and why, [`report`] writes that down for people.
//! [`dead`] puts dead jobs back in line, after saying what it would do; [`doctor`] looks at everything that a
//! house stands on; [`reseal`] seals what an old key sealed; [`shaping`] looks for what the shaping file names.

pub mod dead;
pub mod doctor;
pub mod installation;
pub mod report;
pub mod reseal;
pub mod sending;
pub mod shaping;
pub mod stuck;
