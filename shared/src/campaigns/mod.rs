//! Campaigns: what is sent, to which lists, and when.
//!
//! [`campaign`] is the noun and [`draft`] checks what a person writes. [`transitions`] moves it from state to state, each with the job
//! of [`payload`] that does the slow part: [`launch`] freezes the audience, [`cancel`] ends it early, [`finish`] closes what balances.
//! [`progress`], [`recipients`] and [`standing`] are questions. A mail is made in three steps: [`template`] turns content and recipient
//! into subject, HTML and text within the bounds of `sandbox`, [`plain_text`] derives the text that a campaign lacks, [`message`] puts them into the bytes that go over
//! the wire, with [`header`] and [`mime`] for the encodings; [`preview`] shows one. [`unsubscribe`] is what the link in it does.

pub mod campaign;
pub mod cancel;
pub mod draft;
pub mod finish;
pub mod header;
pub mod launch;
pub mod message;
pub mod mime;
pub mod payload;
pub mod plain_text;
pub mod preview;
pub mod progress;
pub mod recipients;
pub(crate) mod sandbox;
pub mod sender_domain;
pub mod standing;
pub mod template;
pub mod transitions;
pub mod unsubscribe;
