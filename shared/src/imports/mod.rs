//! Files on their way in: an upload becomes an object, a row and a job; the job turns the object into contacts, exactly once.
//!
//! Read in this order: [`import`] (the noun), [`upload`] (receives a file), [`payload`] (the job), [`load`] (its run: part by part),
//! [`underway`] (the parts that are read, written and waiting), [`part`] (one part: one transaction), [`batch`] and [`people`] (its contacts, and how they come into the tables), [`copy`] (the fastest
//! way in), [`row_errors`] (what was refused), [`sweep`] (what never finished). Reading a file: [`format`](mod@format) (text? which
//! delimiter?), [`records`] (bytes to records), [`header`] (what columns mean), [`row`] (a record to a contact), [`source`] (all of them
//! over a stream).

pub mod batch;
pub mod copy;
pub mod format;
pub mod header;
pub mod import;
pub mod load;
pub mod part;
pub mod payload;
pub mod people;
pub mod records;
pub mod row;
pub mod row_errors;
pub mod source;
pub mod sweep;
pub mod underway;
pub mod upload;

#[cfg(test)]
mod tests;
