//! What a contact may carry besides its address and name.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Bytes of the attributes as JSON.
pub const MAX_BYTES: usize = 8 * 1024;

/// A contact's own facts, for templates and filters.
pub type Attributes = Map<String, Value>;

/// Checks the size.
///
/// # Errors
/// As [`encode`].
pub fn check(attributes: &Attributes) -> Result<()> {
    encode(attributes).map(drop)
}

/// Checks the size; answers the JSON.
///
/// # Errors
/// [`Error::Invalid`] names `attributes` and how large they are.
pub fn encode(attributes: &Attributes) -> Result<String> {
    let text = serde_json::to_string(attributes).map_err(Error::internal)?;
    if text.len() > MAX_BYTES {
        return Err(Error::invalid("attributes", format!("must have at most {MAX_BYTES} bytes as JSON, not {}", text.len())));
    }
    Ok(text)
}

/// Checks a person's name: it goes into headers of mails, so it holds no line ends.
///
/// # Errors
/// [`Error::Invalid`] names `name`.
pub fn check_name(name: &str) -> Result<()> {
    let characters = name.chars().count();
    if characters > 200 {
        return Err(Error::invalid("name", format!("must have at most 200 characters, not {characters}")));
    }
    match name.chars().find(|character| character.is_control()) {
        Some(control) => Err(Error::invalid("name", format!("holds the control character {}", control.escape_default()))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_over_8_kilobytes_are_refused() {
        let mut attributes = Attributes::new();
        attributes.insert("note".to_owned(), "x".repeat(MAX_BYTES - 11).into());
        assert!(check(&attributes).is_ok());
        attributes.insert("note".to_owned(), "x".repeat(MAX_BYTES - 10).into());
        assert_eq!(
            check(&attributes).expect_err("large").to_string(),
            "attributes: must have at most 8192 bytes as JSON, not 8193"
        );
    }

    #[test]
    fn a_name_with_a_line_end_is_refused() {
        assert_eq!(check_name("Ann\r\nBcc: x").expect_err("control").to_string(), r"name: holds the control character \r");
    }
}
