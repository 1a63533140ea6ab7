//! Lines and data of a client. A line ends with CRLF and nothing else, and data end with CRLF, dot, CRLF and nothing else: who takes a bare
//! LF for a line end can be told that one mail is two.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Octets of a command line with its CRLF: RFC 5321 section 4.5.3.1.4, with room for the parameters of extensions.
const LONGEST_LINE: usize = 2048;
const CHUNK: usize = 16 * 1024;

/// What has been read and not yet been used.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Without its CRLF.
    Whole(Vec<u8>),
    /// Longer than a line may be.
    TooLong,
    /// It holds an LF without its CR, or a CR without its LF.
    Bare,
    /// The client has closed the connection.
    End,
}

/// A mail's data.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// Dots taken out, with the last CRLF.
    Whole(Vec<u8>),
    /// More than the limit, read to their end and thrown away.
    TooLarge,
    /// So much more that there is no end to it, or the client has closed the connection.
    End,
}

impl Reader {
    /// Whether the client has sent more than has been used.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Forgets what has been read: nothing that came before TLS counts after it.
    pub fn forget(&mut self) {
        self.buffer.clear();
    }

    /// The next line.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn line(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Line> {
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer) {
                let rest = self.buffer.split_off(at + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                if line.len() >= LONGEST_LINE {
                    return Ok(Line::TooLong);
                }
                if line.pop() != Some(b'\r') || memchr::memchr(b'\r', &line).is_some() {
                    return Ok(Line::Bare);
                }
                return Ok(Line::Whole(line));
            }
            if self.buffer.len() >= LONGEST_LINE {
                return Ok(Line::TooLong);
            }
            if self.fill(stream).await? == 0 {
                return Ok(Line::End);
            }
        }
    }

    /// The data up to their end; `most` octets of them.
    ///
    /// # Errors
    /// The connection failed.
    pub async fn data(&mut self, stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Data> {
        let mut unstuffed = Unstuffed { place: Place::LineStart, out: Vec::new(), most, seen: 0 };
        loop {
            if let Some(used) = unstuffed.take(&self.buffer) {
                self.buffer.drain(..used);
                return Ok(if unstuffed.seen > most { Data::TooLarge } else { Data::Whole(unstuffed.out) });
            }
            self.buffer.clear();
            if unstuffed.seen > most.saturating_mul(10) || self.fill(stream).await? == 0 {
                return Ok(Data::End);
            }
        }
    }

    async fn fill(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<usize> {
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = stream.read(&mut self.buffer[length..]).await;
        self.buffer.truncate(length + read.as_ref().map_or(0, |read| *read));
        read
    }
}

/// Where in a line the data are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// After CRLF.
    LineStart,
    /// After CRLF, dot.
    Dot,
    /// After CRLF, dot, CR.
    DotCr,
    /// After CR.
    Cr,
    /// Anywhere else.
    Inside,
}

struct Unstuffed {
    place: Place,
    out: Vec<u8>,
    most: usize,
    seen: usize,
}

impl Unstuffed {
    /// Takes these octets. Some: the data have ended after so many of them.
    fn take(&mut self, octets: &[u8]) -> Option<usize> {
        for (index, &octet) in octets.iter().enumerate() {
            let before = self.place;
            if before == Place::DotCr {
                if octet == b'\n' {
                    return Some(index + 1);
                }
                self.push(b'\r');
            }
            self.place = match (before, octet) {
                (Place::LineStart, b'.') => Place::Dot,
                (Place::Dot, b'\r') => Place::DotCr,
                (Place::Cr, b'\n') => Place::LineStart,
                (_, b'\r') => Place::Cr,
                _ => Place::Inside,
            };
            // The dot that stands first is not one of the mail's, and the CR behind it may be the end's.
            if !matches!(self.place, Place::Dot | Place::DotCr) {
                self.push(octet);
            }
        }
        None
    }

    fn push(&mut self, octet: u8) {
        self.seen += 1;
        if self.seen <= self.most {
            self.out.push(octet);
        } else if !self.out.is_empty() {
            self.out = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    async fn data(mut octets: &[u8], most: usize) -> (Data, Vec<u8>) {
        let mut reader = Reader::default();
        let data = reader.data(&mut octets, most).await.expect("memory does not fail");
        (data, reader.buffer)
    }

    fn whole(text: &str) -> Data {
        Data::Whole(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn data_end_at_a_dot_between_two_crlf_and_nowhere_else() {
        for (sent, expected, left) in [
            ("a\r\n.\r\nQUIT\r\n", whole("a\r\n"), "QUIT\r\n"),
            (".\r\n", whole(""), ""),
            ("..\r\n.\r\n", whole(".\r\n"), ""),
            (".a\r\n..b\r\n.\r\n", whole("a\r\n.b\r\n"), ""),
            ("a\n.\n\r\n.\r\n", whole("a\n.\n\r\n"), ""),
            ("a\n.\r\nb\r\n.\r\n", whole("a\n.\r\nb\r\n"), ""),
            ("a\r\n.\nb\r\n.\r\n", whole("a\r\n\nb\r\n"), ""),
            ("a\r.\r\nb\r\n.\r\n", whole("a\r.\r\nb\r\n"), ""),
            ("a\r\n.\rb\r\n.\r\n", whole("a\r\n\rb\r\n"), ""),
            ("a\r\n.\r\r\n.\r\n", whole("a\r\n\r\r\n"), ""),
            ("a\r\n.", Data::End, ""),
        ] {
            assert_eq!(data(sent.as_bytes(), 100).await, (expected, left.as_bytes().to_vec()), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn data_over_the_limit_are_read_to_their_end_unless_they_have_none() {
        assert_eq!(data(b"12345\r\n.\r\nNOOP", 7).await, (whole("12345\r\n"), b"NOOP".to_vec()));
        assert_eq!(data(b"123456\r\n.\r\nNOOP", 7).await, (Data::TooLarge, b"NOOP".to_vec()));
        assert_eq!(data(&[b'x'; 100_000], 7).await.0, Data::End);
    }

    #[tokio::test]
    async fn a_line_ends_with_crlf_and_has_an_end() {
        let mut reader = Reader::default();
        let mut sent = &b"NOOP\r\nNO\rOP\r\nNOOP\n\r\n"[..];
        let mut lines = Vec::new();
        for _ in 0..5 {
            lines.push(reader.line(&mut sent).await.expect("memory does not fail"));
        }
        assert_eq!(lines, [Line::Whole(b"NOOP".to_vec()), Line::Bare, Line::Bare, Line::Whole(Vec::new()), Line::End]);
        assert_eq!(Reader::default().line(&mut &[b'x'; 5000][..]).await.expect("memory does not fail"), Line::TooLong);
    }

    proptest! {
        #[test]
        fn what_was_stuffed_is_unstuffed_wherever_the_packets_end(lines in proptest::collection::vec("[.a\r\n]{0,6}", 0..8), cut in 0_usize..60) {
            // A mail of lines, in which bare CR and LF may stand, but for CRLF inside of a line.
            let lines: Vec<String> = lines.iter().map(|line| line.replace("\r\n", "").trim_end_matches('\r').trim_start_matches('\n').to_owned()).collect();
            prop_assume!(lines.iter().all(|line| !line.contains("\r\n")));
            let mail: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let mut sent: Vec<u8> = lines.iter().flat_map(|line| {
                let stuffed = if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") };
                stuffed.into_bytes()
            }).collect();
            sent.extend_from_slice(b".\r\n");
            let mut unstuffed = Unstuffed { place: Place::LineStart, out: Vec::new(), most: 1000, seen: 0 };
            let (first, second) = sent.split_at(cut.min(sent.len()));
            let ended = unstuffed.take(first).or_else(|| unstuffed.take(second).map(|used| used + first.len()));
            prop_assert_eq!(ended, Some(sent.len()));
            prop_assert_eq!(String::from_utf8_lossy(&unstuffed.out), mail);
        }
    }
}
