//! What kind of file it is, from its first bytes: text at all, and which delimiter.

use super::{
    header,
    records::{Records, Step},
};

/// Bytes that are looked at before anything is decided.
pub const HEAD_BYTES: usize = 64 * 1024;

/// UTF-8's byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Delimiters, the most common first: it wins where nothing speaks for another.
const DELIMITERS: [u8; 3] = [b',', b';', b'\t'];

/// Records that vote for the delimiter.
const VOTERS: usize = 50;

/// Where the records begin and what separates their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Between fields.
    pub delimiter: u8,
    /// Bytes before the header: a byte order mark, a `sep=;` line.
    pub skip: usize,
    /// Line on which the header is looked for, counted from 1.
    pub line: u64,
}

/// Refuses what cannot be a CSV file in UTF-8, judging by its first [`HEAD_BYTES`].
///
/// # Errors
/// A reason that completes "the file …".
pub fn check(head: &[u8]) -> Result<(), &'static str> {
    let signatures: [(&[u8], &str); 6] = [
        (b"PK\x03\x04", "is a zip archive or an Excel workbook, not CSV; save it as CSV"),
        (b"\xd0\xcf\x11\xe0", "is an old Excel workbook, not CSV; save it as CSV"),
        (b"%PDF-", "is a PDF document, not CSV"),
        (b"\x1f\x8b", "is compressed with gzip; upload the CSV itself"),
        (b"\xff\xfe", "is text in UTF-16; save it as CSV in UTF-8"),
        (b"\xfe\xff", "is text in UTF-16; save it as CSV in UTF-8"),
    ];
    if let Some((_, reason)) = signatures.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Err(reason);
    }
    if head.contains(&0) {
        return Err("is binary, not CSV: it holds NUL bytes");
    }
    let controls = head.iter().filter(|byte| **byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n')).count();
    if controls * 20 > head.len() {
        return Err("is binary, not CSV: it holds many control characters");
    }
    Ok(())
}

/// Whether there is anything to read: more than a byte order mark and white space.
#[must_use]
pub fn is_blank(bytes: &[u8]) -> bool {
    bytes.strip_prefix(MARK).unwrap_or(bytes).iter().all(u8::is_ascii_whitespace)
}

/// Finds mark and delimiter in the first bytes of a file; `whole` where nothing follows them.
#[must_use]
pub fn detect(head: &[u8], whole: bool) -> Format {
    let mark = if head.starts_with(MARK) { MARK.len() } else { 0 };
    let text = &head[mark..];
    if let Some((delimiter, length)) = declared(text) {
        // The line's own end is skipped as an empty line and counted by the reader.
        return Format { delimiter, skip: mark + length, line: 1 };
    }
    let best = DELIMITERS.into_iter().rev().max_by_key(|delimiter| evidence(text, *delimiter, whole)).unwrap_or(DELIMITERS[0]);
    Format { delimiter: best, skip: mark, line: 1 }
}

/// Excel's `sep=;` on a line of its own.
fn declared(text: &[u8]) -> Option<(u8, usize)> {
    let line = text.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let delimiter = match line {
        [s, e, p, b'=', delimiter] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") => *delimiter,
        _ => return None,
    };
    (delimiter.is_ascii() && !delimiter.is_ascii_alphanumeric() && delimiter != b'"').then_some((delimiter, line.len()))
}

/// What speaks for a delimiter, the strongest first: a column of e-mail addresses appears, records are as long as the header,
/// there are columns at all.
fn evidence(text: &[u8], delimiter: u8, whole: bool) -> (bool, usize, usize) {
    let mut records = Records::new(delimiter, 1, 0);
    records.push(text);
    if whole {
        records.end();
    }
    let (mut names_email, mut columns, mut agreeing) = (false, 0, 0);
    for number in 0..VOTERS {
        match records.advance() {
            Step::Record if number == 0 => {
                columns = records.current().len();
                names_email = records.current().fields().any(header::names_email);
            }
            Step::Record => agreeing += usize::from(columns > 1 && records.current().len() == columns),
            Step::BadQuote => {}
            Step::Hopeless | Step::NeedMore | Step::End => break,
        }
    }
    (names_email, agreeing, columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delimiter_is_found_by_the_header_and_the_rows() {
        let found = |text: &str| char::from(detect(text.as_bytes(), true).delimiter);
        assert_eq!(found("email,name\na@b.test,\"x; y; z\""), ',');
        assert_eq!(found("name;E-Mail\n\"Doe, Jane\";a@b.test\n"), ';');
        assert_eq!(found("email\tname\n"), '\t');
        assert_eq!(found("email\na@b.test"), ',');
        assert_eq!(found("\u{feff}email;first, last\nx;y"), ';');
        assert_eq!(found("one;two,three\na;b\nc;d"), ';');
    }

    #[test]
    fn a_declared_delimiter_wins_and_its_line_is_counted() {
        assert_eq!(detect(b"\xef\xbb\xbfSEP=|\r\nemail|a,b,c\r\n", true), Format { delimiter: b'|', skip: 8, line: 1 });
        assert_eq!(detect(b"sep=x\nemail;y\n", true).skip, 0);
    }

    #[test]
    fn what_is_not_text_is_refused_by_name() {
        let reasons: Vec<_> = [&b"PK\x03\x04xx"[..], b"%PDF-1.7", b"\xff\xfee\0m\0", b"email\0", b"\x01\x02\x03\x04email"]
            .iter()
            .map(|head| check(head).expect_err("refused"))
            .collect();
        insta::assert_snapshot!(reasons.join("\n"), @r"
        is a zip archive or an Excel workbook, not CSV; save it as CSV
        is a PDF document, not CSV
        is text in UTF-16; save it as CSV in UTF-8
        is binary, not CSV: it holds NUL bytes
        is binary, not CSV: it holds many control characters
        ");
        assert_eq!(check("email,name\na@b.test,Zoë\n".as_bytes()), Ok(()));
        assert_eq!(check(b"email,name\na@b.test,Zo\xeb\n"), Ok(()));
    }

    #[test]
    fn a_mark_and_line_ends_are_nothing_to_read() {
        assert!(is_blank(b"") && is_blank(b"\xef\xbb\xbf") && is_blank(b"\xef\xbb\xbf\r\n \t\n"));
        assert!(!is_blank(b"\xef\xbb\xbfx"));
    }
}
