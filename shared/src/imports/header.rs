//! What the columns mean, from the names in the header.

use std::collections::{HashMap, HashSet};

/// Most columns that a file may have.
const MOST_COLUMNS: usize = 500;
/// Longest name of a column, in characters.
const LONGEST_NAME: usize = 100;

const EMAIL: [&str; 9] =
    ["email", "e mail", "mail", "email address", "e mail address", "mail address", "emailaddress", "mailaddress", "contact email"];
const NAME: [&str; 3] = ["name", "full name", "fullname"];
const FIRST: [&str; 4] = ["first name", "firstname", "given name", "forename"];
const LAST: [&str; 5] = ["last name", "lastname", "surname", "family name", "familyname"];

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The address.
    Email,
    /// The whole name.
    Name,
    /// The first part of a name.
    FirstName,
    /// The last part of a name.
    LastName,
    /// Anything else, under its name.
    Attribute(String),
}

/// The columns of a file, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// What each column holds.
    pub columns: Vec<Column>,
    /// Their names as the file has them, without spaces around.
    pub names: Vec<String>,
}

/// Lower case, with one space for whatever separates words.
fn plain(name: &str) -> String {
    name.to_lowercase().split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Whether a header field names the column of addresses.
#[must_use]
pub fn names_email(field: &[u8]) -> bool {
    std::str::from_utf8(field).is_ok_and(|name| EMAIL.contains(&plain(name).as_str()))
}

/// The name of an attribute, fit for a template: `Postal code` is `Postal_code`.
fn key(name: &str) -> String {
    let words: Vec<&str> = name.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { name.to_owned() } else { words.join("_") }
}

impl Header {
    /// Reads the header's fields.
    ///
    /// # Errors
    /// A sentence about the whole file: a name is missing, stands twice or is not UTF-8, or there is no column of addresses.
    pub fn parse<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Result<Self, String> {
        let mut names = Vec::new();
        for (index, field) in fields.enumerate() {
            let number = index + 1;
            let name = std::str::from_utf8(field).map_err(|_| format!("the header's column {number} is not UTF-8"))?.trim();
            if name.is_empty() {
                return Err(format!("the header's column {number} has no name"));
            }
            if name.contains(char::is_control) {
                return Err(format!("the header's column {number}, {name:?}, holds a control character"));
            }
            if name.chars().count() > LONGEST_NAME {
                return Err(format!("the header's column {number} has a name of more than {LONGEST_NAME} characters"));
            }
            names.push(name.to_owned());
        }
        if names.len() > MOST_COLUMNS {
            return Err(format!("the header has {} columns, more than {MOST_COLUMNS}", names.len()));
        }
        let columns = columns(&names)?;
        Ok(Self { columns, names })
    }

    /// The name of the column that holds `wanted`, for a message; empty where there is none.
    #[must_use]
    pub fn name_of(&self, wanted: &Column) -> &str {
        self.columns.iter().position(|column| column == wanted).map_or("", |index| &self.names[index])
    }
}

fn columns(names: &[String]) -> Result<Vec<Column>, String> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for name in names {
        if let Some(before) = seen.insert(key(name).to_lowercase(), name) {
            return Err(if before == name {
                format!("the header names the column {name:?} twice")
            } else {
                format!("the header's columns {before:?} and {name:?} have the same name")
            });
        }
    }
    let plain: Vec<String> = names.iter().map(|name| plain(name)).collect();
    let emails: Vec<&String> =
        names.iter().zip(&plain).filter(|(_, name)| EMAIL.contains(&name.as_str())).map(|(name, _)| name).collect();
    match emails[..] {
        [] => return Err(format!("the header has no column for the e-mail address; its columns are {}", quoted(names))),
        [_] => {}
        [first, second, ..] => return Err(format!("the header has two columns for the e-mail address: {first:?} and {second:?}")),
    }
    let mut taken = HashSet::new();
    let whole_name = plain.iter().any(|name| NAME.contains(&name.as_str()));
    Ok(names
        .iter()
        .zip(&plain)
        .map(|(name, plain)| {
            let plain = plain.as_str();
            let mut once = |kind: &'static str| taken.insert(kind);
            if EMAIL.contains(&plain) {
                Column::Email
            } else if NAME.contains(&plain) && once("name") {
                Column::Name
            } else if !whole_name && FIRST.contains(&plain) && once("first") {
                Column::FirstName
            } else if !whole_name && LAST.contains(&plain) && once("last") {
                Column::LastName
            } else {
                Column::Attribute(key(name))
            }
        })
        .collect())
}

fn quoted(names: &[String]) -> String {
    let mut shown: Vec<String> = names.iter().take(20).map(|name| format!("{name:?}")).collect();
    if names.len() > shown.len() {
        shown.push("…".to_owned());
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &str) -> Result<Header, String> {
        Header::parse(names.split(',').map(str::as_bytes))
    }

    #[test]
    fn columns_are_known_by_many_names() {
        for name in ["email", "E-Mail", " MAIL ", "Email Address", "e_mail", "E-mail address"] {
            assert_eq!(parse(name).expect(name).columns, [Column::Email], "{name}");
        }
        insta::assert_debug_snapshot!(parse("First Name,Surname,e-mail,Postal code,Größe (cm)").expect("a header").columns, @r#"
        [
            FirstName,
            LastName,
            Email,
            Attribute(
                "Postal_code",
            ),
            Attribute(
                "Größe_cm",
            ),
        ]
        "#);
    }

    #[test]
    fn parts_of_a_name_are_attributes_where_the_whole_name_is_there() {
        let columns = parse("email,first_name,Full name").expect("a header").columns;
        assert_eq!(columns, [Column::Email, Column::Attribute("first_name".to_owned()), Column::Name]);
    }

    #[test]
    fn a_header_of_no_use_is_refused_with_a_sentence() {
        let refused: Vec<_> = ["name,city", "email,,city", "email,City,city", "email,a b,a-b", "email,mail", "email,\0"]
            .iter()
            .map(|names| parse(names).expect_err("refused"))
            .collect();
        insta::assert_snapshot!(refused.join("\n"), @r#"
        the header has no column for the e-mail address; its columns are "name", "city"
        the header's column 2 has no name
        the header's columns "City" and "city" have the same name
        the header's columns "a b" and "a-b" have the same name
        the header has two columns for the e-mail address: "email" and "mail"
        the header's column 2, "\0", holds a control character
        "#);
    }
}
