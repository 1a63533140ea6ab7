//! Jobs of this domain; [`compose`] writes the mails.

pub mod compose;
pub mod send_account_mail;
