//! Bytes in, records out: CSV as it comes from spreadsheets, in pieces of any size and in bounded memory.
//!
//! The parser is `csv_core`. Around it: the line on which a record starts (LF, CRLF and CR end a line), its raw text for the list of
//! errors, and a way back out of a quote that is never closed, so that one bad row does not swallow those after it.

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

/// Longest record in bytes. A longer one is a quote that was never closed.
pub const LONGEST_RECORD: usize = 256 * 1024;

/// What may be read in vain, behind quotes that turn out to be no quotes: so much, and so many times what the file has.
const VAIN_BYTES: u64 = 64 * 1024 * 1024;
const VAIN_TIMES: u64 = 4;

/// What the bytes so far hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A record: see [`Records::current`].
    Record,
    /// A line that cannot be read because of a quote: see [`Records::current`], which has no fields; reading goes on with the next line.
    BadQuote,
    /// Too much was read in vain behind bad quotes: reading on would take hours. [`Records::current`] is the last one.
    Hopeless,
    /// Push more, or say that nothing follows.
    NeedMore,
    /// No record is left.
    End,
}

/// Cuts a file into records.
#[derive(Debug)]
pub struct Records {
    parser: Reader,
    delimiter: u8,
    buffer: Vec<u8>,
    start: usize,
    scanned: usize,
    ended: bool,
    position: Position,
    after_return: bool,
    found: Found,
    fields: Vec<u8>,
    ends: Vec<usize>,
    fields_len: usize,
    ends_len: usize,
    /// Bytes that were read and are to be read again.
    vain: u64,
}

/// A place in the file.
#[derive(Clone, Copy, Debug)]
struct Position {
    line: u64,
    offset: u64,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    line: u64,
    raw: (usize, usize),
    fields: usize,
}

/// A record, borrowed from the reader.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Line of the file on which it starts, counted from 1.
    pub line: u64,
    /// As it stands in the file, without its line end.
    pub raw: &'a [u8],
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    /// Number of fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no field.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The fields, without their quotes.
    pub fn fields(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (bytes, mut from) = (self.bytes, 0);
        self.ends.iter().map(move |&to| {
            let field = &bytes[from..to];
            from = to;
            field
        })
    }
}

impl Records {
    /// Reads fields that `delimiter` separates, from line `line` on, which starts `offset` bytes into the file.
    #[must_use]
    pub fn new(delimiter: u8, line: u64, offset: u64) -> Self {
        Self {
            parser: parser(delimiter),
            delimiter,
            buffer: Vec::new(),
            start: 0,
            scanned: 0,
            ended: false,
            position: Position { line, offset },
            after_return: false,
            found: Found { line, raw: (0, 0), fields: 0 },
            fields: vec![0; 4096],
            ends: vec![0; 64],
            fields_len: 0,
            ends_len: 0,
            vain: 0,
        }
    }

    /// The next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// No bytes follow.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Bytes of the file that the records so far took.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.position.offset
    }

    /// The record that [`Records::advance`] found just now.
    #[must_use]
    pub fn current(&self) -> Record<'_> {
        let Found { line, raw: (from, to), fields } = self.found;
        let ends = &self.ends[..fields];
        Record { line, raw: &self.buffer[from..to], bytes: &self.fields, ends }
    }

    /// Looks for the next record. Empty lines are none.
    pub fn advance(&mut self) -> Step {
        if self.scanned == self.start && !self.skip_line_ends() {
            return if self.ended { Step::End } else { Step::NeedMore };
        }
        loop {
            // No further than a record may go: a piece holds many, and each of them may begin with a quote that takes in all the others.
            let limit = (self.start + LONGEST_RECORD + 1).min(self.buffer.len());
            let input = &self.buffer[self.scanned..limit];
            if input.is_empty() && !self.ended {
                return Step::NeedMore;
            }
            let (result, read, written, ended) =
                self.parser.read_record(input, &mut self.fields[self.fields_len..], &mut self.ends[self.ends_len..]);
            self.scanned += read;
            self.fields_len += written;
            self.ends_len += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => return self.take_record(),
                ReadRecordResult::End => return Step::End,
            }
            if self.scanned - self.start > LONGEST_RECORD {
                return self.take_line();
            }
        }
    }

    /// Whether a record starts in what is there.
    fn skip_line_ends(&mut self) -> bool {
        let skipped = self.buffer[self.start..].iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        self.pass(skipped);
        self.scanned = self.start;
        self.start < self.buffer.len()
    }

    fn take_record(&mut self) -> Step {
        let raw = trim_line_end(&self.buffer[self.start..self.scanned]);
        let (from, to) = (self.start, self.start + raw.len());
        let suspicious = raw.contains(&b'\n') || raw.contains(&b'\r') || (self.ended && self.scanned == self.buffer.len());
        if suspicious && !is_well_quoted(raw, self.delimiter) {
            return self.take_line();
        }
        self.found = Found { line: self.position.line, raw: (from, to), fields: self.ends_len };
        (self.fields_len, self.ends_len) = (0, 0);
        self.pass(self.scanned - self.start);
        Step::Record
    }

    /// Gives up the line on which the record starts; the parser begins afresh behind it.
    fn take_line(&mut self) -> Step {
        // Of a line without an end, as much as a record may have: the same wherever the pieces were cut.
        let rest = &self.buffer[self.start..self.scanned];
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        self.vain += (self.scanned - self.start - length) as u64;
        self.found = Found { line: self.position.line, raw: (self.start, self.start + length), fields: 0 };
        (self.fields_len, self.ends_len) = (0, 0);
        self.parser = parser(self.delimiter);
        self.pass(length);
        self.scanned = self.start;
        if self.vain > VAIN_BYTES + VAIN_TIMES * self.position.offset { Step::Hopeless } else { Step::BadQuote }
    }

    /// Moves over `length` bytes and counts the lines that end in them.
    fn pass(&mut self, length: usize) {
        for &byte in &self.buffer[self.start..self.start + length] {
            if byte == b'\r' || (byte == b'\n' && !self.after_return) {
                self.position.line += 1;
            }
            self.after_return = byte == b'\r';
        }
        self.start += length;
        self.position.offset += length as u64;
    }
}

fn parser(delimiter: u8) -> Reader {
    let mut parser = ReaderBuilder::new().delimiter(delimiter).build();
    // The parser takes a byte order mark away before its first record; a mark that is part of a field must stay.
    let _ = parser.read_record(b"\n", &mut [0], &mut [0]);
    parser
}

fn trim_line_end(raw: &[u8]) -> &[u8] {
    let end = raw.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
    &raw[..end]
}

/// Whether every quote that opens a field is closed, and closed right before a delimiter or the end of a record. Where this
/// fails on a record of several lines, a quote was forgotten and lines of other records were taken in.
fn is_well_quoted(raw: &[u8], delimiter: u8) -> bool {
    let mut bytes = raw.iter().copied().peekable();
    let mut at_field_start = true;
    while let Some(byte) = bytes.next() {
        if !(at_field_start && byte == b'"') {
            at_field_start = byte == delimiter;
            continue;
        }
        loop {
            match bytes.next() {
                None => return false,
                Some(b'"') if bytes.peek() == Some(&b'"') => {
                    bytes.next();
                }
                Some(b'"') => break,
                Some(_) => {}
            }
        }
        match bytes.next() {
            None => return true,
            Some(next) if next == delimiter => at_field_start = true,
            Some(_) => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Row = (u64, Vec<String>);

    /// Pushes `pieces` one by one and reads as far as each goes.
    fn read(delimiter: u8, pieces: &[&[u8]]) -> Vec<Row> {
        let mut records = Records::new(delimiter, 1, 0);
        let mut rows = Vec::new();
        let mut pieces = pieces.iter();
        loop {
            match records.advance() {
                Step::Record => {
                    let record = records.current();
                    rows.push((record.line, record.fields().map(|f| String::from_utf8_lossy(f).into_owned()).collect()));
                }
                Step::BadQuote => {
                    let record = records.current();
                    rows.push((record.line, vec!["(quote)".to_owned(), String::from_utf8_lossy(record.raw).into_owned()]));
                }
                Step::NeedMore => match pieces.next() {
                    Some(piece) => records.push(piece),
                    None => records.end(),
                },
                Step::Hopeless | Step::End => return rows,
            }
        }
    }

    fn shown(delimiter: u8, text: &str) -> String {
        read(delimiter, &[text.as_bytes()]).iter().map(|(line, fields)| format!("{line} {fields:?}\n")).collect()
    }

    #[test]
    fn lines_are_counted_however_they_end() {
        insta::assert_snapshot!(shown(b',', "a,b\r\n\r\nc,\"d\r\ne\"\rf,g\n\n\nh,\"\"\"i\"\"\""), @r#"
        1 ["a", "b"]
        3 ["c", "d\r\ne"]
        5 ["f", "g"]
        8 ["h", "\"i\""]
        "#);
    }

    #[test]
    fn a_forgotten_quote_costs_its_own_line_only() {
        insta::assert_snapshot!(shown(b',', "a,\"b\nc,d\ne,\"f\"\ng,h\n\"i,j\nk,l"), @r#"
        1 ["(quote)", "a,\"b"]
        2 ["c", "d"]
        3 ["e", "f"]
        4 ["g", "h"]
        5 ["(quote)", "\"i,j"]
        6 ["k", "l"]
        "#);
    }

    #[test]
    fn a_quote_that_stays_open_for_longer_than_a_record_may_be_is_given_up() {
        let row = "ada@example.test,Ada\n";
        let text = format!("\"open,x\n{}", row.repeat(2 * LONGEST_RECORD / row.len()));
        let rows = read(b',', &text.as_bytes().chunks(1000).collect::<Vec<_>>());
        assert_eq!(rows.len(), 1 + 2 * LONGEST_RECORD / row.len());
        assert_eq!(rows[0].1, ["(quote)", "\"open,x"]);
        assert_eq!(rows[1], (2, vec!["ada@example.test".to_owned(), "Ada".to_owned()]));
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_at_the_same_place_whatever_the_pieces() {
        let text = format!("a,{}\nb,c\n", "x".repeat(2 * LONGEST_RECORD));
        let whole = read(b',', &[text.as_bytes()]);
        assert_eq!(whole.len(), 3);
        assert_eq!(whole[2], (2, vec!["b".to_owned(), "c".to_owned()]));
        assert_eq!(whole, read(b',', &text.as_bytes().chunks(4_000).collect::<Vec<_>>()));
    }

    #[test]
    fn a_file_whose_every_line_opens_a_quote_that_takes_in_the_next_is_given_up_soon() {
        // Each line closes the quote of the one before it behind a text, and opens another: none of the records ends.
        let text = "a@b.c\"x,\"y\n".repeat(4 * LONGEST_RECORD / 12);
        let mut records = Records::new(b',', 1, 0);
        records.push(text.as_bytes());
        let mut lines = 0;
        while records.advance() == Step::BadQuote {
            lines += 1;
        }
        assert_eq!(records.current().line, lines + 1);
        let most = VAIN_BYTES / LONGEST_RECORD as u64 + 100;
        assert!((250..most).contains(&lines), "{lines} lines, {} bytes in vain", records.vain);
        assert!(records.fields.len() <= 2 * LONGEST_RECORD && records.ends.len() <= 2 * LONGEST_RECORD);
    }

    #[test]
    fn quotes_inside_a_field_are_text() {
        insta::assert_snapshot!(shown(b';', "5\" pipe;x\n\"6\"\" pipe\";y;\n"), @r#"
        1 ["5\" pipe", "x"]
        2 ["6\" pipe", "y", ""]
        "#);
    }

    proptest! {
        #[test]
        fn what_the_csv_crate_writes_is_read_back(
            rows in prop::collection::vec(prop::collection::vec("[a-z,;\t\"\r\n\u{feff} é]{0,8}", 3), 1..20),
            delimiter in prop::sample::select(vec![b',', b';', b'\t']),
            crlf in any::<bool>(),
            size in 1_usize..40,
        ) {
            let terminator = if crlf { csv::Terminator::CRLF } else { csv::Terminator::Any(b'\n') };
            let mut writer = csv::WriterBuilder::new().delimiter(delimiter).terminator(terminator).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).expect("written");
            }
            let bytes = writer.into_inner().expect("flushed");
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let found = read(delimiter, &pieces);
            prop_assert_eq!(&found, &read(delimiter, &[&bytes]), "pieces of any size give the same");
            let found: Vec<Vec<String>> = found.into_iter().map(|(_, fields)| fields).collect();
            prop_assert_eq!(found, rows);
        }

        #[test]
        fn no_bytes_panic_and_all_are_passed(bytes in prop::collection::vec(prop::sample::select(b"a,\"\r\n\0\xff;".to_vec()), 0..200)) {
            let mut records = Records::new(b',', 1, 0);
            records.push(&bytes);
            records.end();
            while records.advance() != Step::End {
                let _ = records.current().fields().count();
            }
            prop_assert_eq!(records.offset(), bytes.len() as u64);
        }
    }
}
