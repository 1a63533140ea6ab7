//! One record of the file: a contact, or what is wrong with it.

use std::str::from_utf8;

use serde_json::Value;

use super::{
    header::{Column, Header},
    records::Record,
};
use crate::{
    address::Address,
    contacts::attributes::{self, Attributes},
    error::{Error, Result as Fallible},
};

/// Characters of a raw row, and of a value in a reason, that are kept.
const KEPT_OF_ROW: usize = 2000;
const KEPT_OF_VALUE: usize = 100;

/// A contact as a row has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Valid, lower case.
    pub email: String,
    /// Empty where the file has none.
    pub name: String,
    /// Values that are not empty, all of them text: a postal code keeps its zeros. As JSON, which is a tenth of what a map takes.
    pub attributes: String,
}

impl Row {
    /// What two rows of one address come to: the later one wins, as far as it says something.
    ///
    /// # Errors
    /// The attributes of one are no JSON.
    pub fn absorb(&mut self, later: Self) -> Fallible<()> {
        if !later.name.is_empty() {
            self.name = later.name;
        }
        if later.attributes != self.attributes {
            let read = |text: &str| serde_json::from_str::<Attributes>(text).map_err(Error::internal);
            let mut attributes = read(&self.attributes)?;
            attributes.extend(read(&later.attributes)?);
            self.attributes = serde_json::to_string(&attributes).map_err(Error::internal)?;
        }
        Ok(())
    }

    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.email.len() + self.name.len() + self.attributes.len()
    }
}

/// One thing that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// Line of the file on which the record starts, counted from 1.
    pub line: i64,
    /// The column's name; empty where the whole row is meant.
    pub column: String,
    /// What is wrong, with the value.
    pub reason: String,
    /// The row as it stands in the file, at most 2,000 characters of it.
    pub row: String,
}

impl RowError {
    /// Bytes of its texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.column.len() + self.reason.len() + self.row.len()
    }
}

/// Whether a record has nothing in it: an empty row of a spreadsheet.
#[must_use]
pub fn is_blank(record: &Record<'_>) -> bool {
    record.fields().all(<[u8]>::is_empty) || record.fields().all(|field| from_utf8(field).is_ok_and(|text| text.trim().is_empty()))
}

/// Errors that are told of one row.
const MOST_ERRORS: usize = 5;

/// An error of the whole of a record.
#[must_use]
pub fn refuse(record: &Record<'_>, reason: impl Into<String>) -> RowError {
    error(record, "", reason.into())
}

/// Reads a record by the header.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(header: &Header, record: &Record<'_>) -> Result<Row, Vec<RowError>> {
    let (expected, found) = (header.columns.len(), record.len());
    if found != expected {
        let what = if found > expected { "too many" } else { "too few" };
        return Err(vec![refuse(record, format!("has {what} columns: {found}, where the header has {expected}"))]);
    }
    let mut reader = Reader { record, errors: Vec::new() };
    let row = reader.row(header);
    if reader.errors.is_empty() { Ok(row) } else { Err(reader.errors) }
}

struct Reader<'a> {
    record: &'a Record<'a>,
    errors: Vec<RowError>,
}

impl Reader<'_> {
    fn row(&mut self, header: &Header) -> Row {
        let mut row = Row { email: String::new(), name: String::new(), attributes: String::new() };
        let mut attributes = Attributes::new();
        let (mut first, mut last) = ("", "");
        for ((column, name), field) in header.columns.iter().zip(&header.names).zip(self.record.fields()) {
            let Some(text) = self.text(name, field) else { continue };
            match column {
                Column::Email => match Address::parse_recipient(text) {
                    Ok(address) => row.email = address.as_str().to_owned(),
                    Err(reason) => self.refuse(name, format!("{} {reason}", shown(text))),
                },
                Column::Name => row.name = text.to_owned(),
                Column::FirstName => first = text,
                Column::LastName => last = text,
                Column::Attribute(key) if !text.is_empty() => {
                    attributes.insert(key.clone(), Value::String(text.to_owned()));
                }
                Column::Attribute(_) => {}
            }
        }
        if !(first.is_empty() && last.is_empty()) {
            row.name = format!("{first} {last}").trim().to_owned();
        }
        if let Err(error) = attributes::check_name(&row.name) {
            let column = [Column::Name, Column::FirstName, Column::LastName];
            let column = column.iter().map(|column| header.name_of(column)).find(|name| !name.is_empty()).unwrap_or_default();
            self.refuse(column, format!("{} {}", shown(&row.name), message(error)));
        }
        match attributes::encode(&attributes) {
            Ok(text) => row.attributes = text,
            Err(error) => self.refuse("", format!("the attributes {}", message(error))),
        }
        row
    }

    /// The field without spaces around, where it is text that the database takes.
    fn text<'f>(&mut self, name: &str, field: &'f [u8]) -> Option<&'f str> {
        match from_utf8(field) {
            Ok(text) if text.contains('\0') => self.refuse(name, format!("{} holds a NUL character", shown(text))),
            Ok(text) => return Some(text.trim()),
            Err(_) => self.refuse(name, format!("{} is not UTF-8", shown(&String::from_utf8_lossy(field)))),
        }
        None
    }

    fn refuse(&mut self, column: &str, reason: String) {
        // Each keeps a copy of the row: a wide row of nonsense must not become a thousand of them.
        if self.errors.len() < MOST_ERRORS {
            self.errors.push(error(self.record, column, reason));
        }
    }
}

fn error(record: &Record<'_>, column: &str, reason: String) -> RowError {
    let most_bytes = record.raw.len().min(4 * KEPT_OF_ROW);
    let row = String::from_utf8_lossy(&record.raw[..most_bytes]).replace('\0', "\u{fffd}");
    RowError {
        line: i64::try_from(record.line).unwrap_or(i64::MAX),
        column: column.to_owned(),
        reason: reason.replace('\0', "\u{fffd}"),
        row: row.chars().take(KEPT_OF_ROW).collect(),
    }
}

fn shown(value: &str) -> String {
    match value.char_indices().nth(KEPT_OF_VALUE) {
        Some((end, _)) => format!("{:?}…", &value[..end]),
        None => format!("{value:?}"),
    }
}

/// What a check of one field says, without the field's name: the column's name stands beside it.
fn message(error: Error) -> String {
    match error {
        Error::Invalid(fields) => fields.into_iter().map(|field| field.message).collect::<Vec<_>>().join("; "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::imports::records::{Records, Step};

    fn read(header: &str, line: &[u8]) -> Result<Row, Vec<RowError>> {
        let header = Header::parse(header.split(',').map(str::as_bytes)).expect("a header");
        let mut records = Records::new(b',', 2, 0);
        records.push(line);
        records.end();
        assert_eq!(records.advance(), Step::Record);
        parse(&header, &records.current())
    }

    fn reasons(header: &str, line: &[u8]) -> String {
        let errors = read(header, line).expect_err("refused");
        errors.iter().map(|error| format!("{} {:?}: {}", error.line, error.column, error.reason)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_row_is_a_contact_with_attributes_of_text() {
        let row = read("First name,last name,E-Mail,zip,city", " Ada , Lovelace,Ada@B\u{fc}cher.example,01234,".as_bytes());
        insta::assert_debug_snapshot!(row.expect("a contact"), @r#"
        Row {
            email: "ada@xn--bcher-kva.example",
            name: "Ada Lovelace",
            attributes: "{\"zip\":\"01234\"}",
        }
        "#);
    }

    #[test]
    fn everything_that_is_wrong_with_a_row_is_said_with_its_value() {
        insta::assert_snapshot!(reasons("email,name", b"a@b..c,x,y"), @"2 \"\": has too many columns: 3, where the header has 2");
        insta::assert_snapshot!(reasons("email,name", b"a@b.test"), @"2 \"\": has too few columns: 1, where the header has 2");
        let long = format!("a@b..c,{},Zo\u{eb}", "x".repeat(201));
        let latin: Vec<u8> = long.chars().map(|c| c as u8).collect();
        insta::assert_snapshot!(reasons("email,name,city", &latin), @r#"
        2 "email": "a@b..c" has a misplaced dot in its domain
        2 "city": "Zo�" is not UTF-8
        2 "name": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"… must have at most 200 characters, not 201
        "#);
        insta::assert_snapshot!(reasons("email,name", b"\"a@b.test\r\nBcc: x@y.test\",\0"), @r#"
        2 "email": "a@b.test\r\nBcc: x@y.test" holds \r, which no address may
        2 "name": "\0" holds a NUL character
        "#);
        insta::assert_snapshot!(reasons("email,name", b"a@b.test,\"x\ny\""), @r#"2 "name": "x\ny" holds the control character \n"#);
        let large = format!("a@b.test,{}", "x".repeat(9000));
        let errors = read("email,note", large.as_bytes()).expect_err("refused");
        assert_eq!(
            (errors[0].reason.as_str(), errors[0].row.len()),
            ("the attributes must have at most 8192 bytes as JSON, not 9011", 2000)
        );
    }

    #[test]
    fn the_later_of_two_rows_wins_as_far_as_it_says_something() {
        let mut row = read("email,name,city,zip", b"a@b.test,Ada,London,1").expect("a contact");
        row.absorb(read("email,name,city,zip", b"a@b.test,,Paris,").expect("a contact")).expect("merged");
        assert_eq!(row.name, "Ada");
        assert_eq!(row.attributes, r#"{"city":"Paris","zip":"1"}"#);
    }
}
