//! By whom: workspaces are the tenants, users work in one of them.
//!
//! [`scope`] is the rule that every finder of every domain asks: may this caller see that workspace's thing? [`level`] is what a member may
//! do there. [`workspace`], [`user`] and [`session`] are the nouns, with the tables of [`refresh_token`] and [`login_failures`] beside them.
//! [`password`] checks and hashes, [`token`] signs access tokens. [`register`] makes users, [`member`] changes them, [`log_in`] puts the
//! rest together: log in, refresh, who is calling. How people come in by mail is told by the domain `members`.

pub mod level;
pub mod log_in;
pub mod login_failures;
pub mod member;
pub mod password;
pub mod refresh_token;
pub mod register;
pub mod scope;
pub mod session;
pub mod token;
pub mod user;
pub mod workspace;
