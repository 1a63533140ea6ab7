//! By whom: workspaces are the tenants, users work in one of them.
//!
//! [`scope`] is the rule that every finder of every domain asks: may this caller see that workspace's thing? [`workspace`] and [`user`]
//! are the nouns. [`password`] hashes, [`token`] signs access tokens, [`refresh_token`] is the table of the long-lived ones.
//! //! [`register`] makes users, [`session`] puts the rest together: log in, refresh, who is calling.

pub mod password;
pub mod refresh_token;
pub mod register;
pub mod scope;
pub mod session;
pub mod token;
pub mod user;
pub mod workspace;
