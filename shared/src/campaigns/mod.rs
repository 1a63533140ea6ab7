//! Campaigns: what is sent to whom, and how it looks on the wire.
//!
//! To whom: [`launch`] freezes the audience, [`cancel`] ends the rest of it, [`finish`] closes what balances. How it looks: [`template`]
//! turns a campaign's content and a recipient into subject, HTML and text; [`plain_text`] derives the text that a campaign lacks;
//! [`message`] puts it into a mail, with [`header`] and [`mime`] for the encodings.

pub mod cancel;
pub mod finish;
pub mod header;
pub mod launch;
pub mod message;
pub mod mime;
pub mod payload;
pub mod plain_text;
pub mod standing;
pub mod template;
