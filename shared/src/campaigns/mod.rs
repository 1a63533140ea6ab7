//! Campaigns: what is sent, to which lists, and when.
//!
//! [`campaign`] is the noun and [`draft`] checks what a person writes. [`transitions`] moves it from state to state, each with the job
//! of [`payload`] that does the slow part: [`launch`] freezes the audience, [`cancel`] ends it early, [`finish`] closes it.
//! [`progress`] and [`recipients`] are questions. A mail is made in three steps: [`template`] renders the subject and the bodies for a
//! recipient, [`plain_text`] derives the text where none was written, [`message`] puts them into the bytes that go over the wire, by
//! the rules of [`header`] and [`mime`]. [`unsubscribe`] is what the link in it does.

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
pub mod progress;
pub mod recipients;
pub mod template;
pub mod transitions;
pub mod unsubscribe;
