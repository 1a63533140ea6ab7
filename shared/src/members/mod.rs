//! How people come in, and get in again: by a link in a mail.
//!
//! [`mail_token`] is what stands behind a link, and [`payload`] the job that sends the mail, whose contents [`letter`] finds. [`sign_up`]
//! makes a workspace and its owner, [`invitation`] takes somebody into a workspace, [`verification`] shows that an address is right,
//! [`reset`] replaces a forgotten password, [`profile`] changes who somebody is. [`prune`] forgets what is over.

pub mod invitation;
pub mod letter;
pub mod mail_token;
pub mod payload;
pub mod profile;
pub mod prune;
pub mod reset;
pub mod sign_up;
pub mod verification;
