//! The ledger: one row per (campaign, recipient), and what moves it.
//!
//! [`ledger`] is the heart: admission before a message starts, the outcome after. [`chunk`] is what one job carries, [`doubt`] settles what
//! a dead process left behind, [`sweep`] brings deferred recipients round again, [`retry`] is a person's second try, [`tally`] counts,
//! [`listing`] shows, [`retention`] ends it; [`settled`] is the metric of what ends away from the wire.
//! [`reply`] says what a server's answer means, by the table of [`bounce_rules`]. [`destination`] is what we know of a recipient domain: limits, slow-downs, suspensions;
//! [`limits`] and [`overview`] are an operator's side of it. [`shaping`] are the rules of how fast mail goes to whom, [`quota`] counts hours and days for them,
//! [`hits`] the replies that adaptive rules match, [`mail_hosts`] keeps where the mail of a domain goes.

pub mod bounce_rules;
pub mod chunk;
pub mod destination;
pub mod doubt;
pub mod hits;
pub mod ledger;
pub mod limits;
pub mod listing;
pub mod mail_hosts;
pub mod overview;
pub mod partition;
pub mod payload;
pub mod quota;
pub mod reply;
pub mod retention;
pub mod retry;
pub mod settled;
pub mod shaping;
pub mod sweep;
pub mod tally;
