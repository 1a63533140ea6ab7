use std::fmt;

/// Longest line and longest reply that we read, in bytes. RFC 5321 allows 512 for a line; some servers write far more.
const LONGEST_LINE: usize = 4096;
const LONGEST_REPLY: usize = 64 * 1024;

/// What a server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 200–599, also the ones that no RFC lists (571, 498).
    pub code: u16,
    /// Enhanced status code (RFC 3463), e.g. `5.1.1`.
    pub enhanced: Option<String>,
    /// The lines' text without codes, joined with line feeds; bytes that are not UTF-8 and control characters are replaced.
    pub text: String,
}

impl Reply {
    /// At most `longest` bytes of the text, cut between characters: what a row of the ledger keeps.
    #[must_use]
    pub fn excerpt(&self, longest: usize) -> &str {
        &self.text[..self.text.floor_char_boundary(longest)]
    }

    fn parse(code: u16, lines: &[u8]) -> Self {
        let mut enhanced: Option<&[u8]> = None;
        let mut text = String::with_capacity(lines.len());
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            let found = enhanced_prefix(line);
            if index == 0 {
                enhanced = found;
            } else {
                text.push('\n');
            }
            // Many servers repeat the enhanced code on every line.
            let rest = match found {
                Some(prefix) if Some(prefix) == enhanced => line[prefix.len()..].trim_ascii_start(),
                _ => line,
            };
            text.extend(
                String::from_utf8_lossy(rest).chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }),
            );
        }
        let enhanced = enhanced.map(|code| String::from_utf8_lossy(code).into_owned());
        Self { code, enhanced, text }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if let Some(enhanced) = &self.enhanced {
            write!(f, " {enhanced}")?;
        }
        write!(f, " {}", self.excerpt(300).replace('\n', " "))
    }
}

/// `class.subject.detail` at the start of a line, followed by a blank or the end (RFC 2034).
fn enhanced_prefix(line: &[u8]) -> Option<&[u8]> {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    let code = &line[..end];
    let mut parts = code.split(|byte| *byte == b'.');
    let class = parts.next()?;
    let numbers = [parts.next()?, parts.next()?];
    let numeric = |part: &[u8]| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    (matches!(class, b"2" | b"4" | b"5") && numbers.iter().all(|part| numeric(part)) && parts.next().is_none()).then_some(code)
}

/// Bytes that are no SMTP reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Not three digits from 200 to 599, then a blank, a hyphen or the end.
    #[error("the server's answer does not begin with a reply code")]
    Code,
    /// A well-formed code that this step does not have.
    #[error("the server answered {0}, which does not belong here")]
    Unexpected(u16),
    /// Over 4,096 bytes.
    #[error("a line of the server's answer is longer than {LONGEST_LINE} bytes")]
    LongLine,
    /// Over 64 KiB.
    #[error("the server's answer is longer than {LONGEST_REPLY} bytes")]
    LongReply,
    /// Bytes before TLS began that are still unread after it: somebody wrote into the plain-text part (CVE-2011-0411).
    #[error("the server sent more than one answer to STARTTLS")]
    BeforeTls,
}

/// Received bytes, cut into replies. The buffers are reused, so that a reply that nobody looks at allocates nothing.
#[derive(Default)]
pub(super) struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    lines: Vec<u8>,
    in_reply: bool,
    code: u16,
}

impl Inbox {
    /// Where the next bytes are to be read to.
    pub(super) fn space(&mut self) -> &mut Vec<u8> {
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start > LONGEST_LINE {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.reserve(LONGEST_LINE);
        &mut self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len() && !self.in_reply
    }

    /// The next whole reply's code, or `None` if more bytes are needed. Its text is [`Self::reply`] until the next call.
    pub(super) fn take(&mut self) -> Result<Option<u16>, Malformed> {
        if !self.in_reply {
            self.lines.clear();
        }
        loop {
            let pending = &self.bytes[self.start..];
            let end = pending.iter().position(|byte| *byte == b'\n');
            if end.unwrap_or(pending.len()) > LONGEST_LINE {
                return Err(Malformed::LongLine);
            }
            let Some(end) = end else { return Ok(None) };
            let line = pending[..end].strip_suffix(b"\r").unwrap_or(&pending[..end]);
            let (code, more) = prefix(line)?;
            // The code and its separator count too, as does what was read of the lines before.
            if self.lines.len() + line.len() > LONGEST_REPLY {
                return Err(Malformed::LongReply);
            }
            if self.in_reply {
                self.lines.push(b'\n');
            }
            self.lines.extend_from_slice(line.get(4..).unwrap_or_default());
            self.start += end + 1;
            self.in_reply = more;
            // Where the lines of a reply differ, the last one counts, as with the big servers' own clients.
            self.code = code;
            if !more {
                return Ok(Some(code));
            }
        }
    }

    /// The reply that [`Self::take`] found last.
    pub(super) fn reply(&self) -> Reply {
        Reply::parse(self.code, &self.lines)
    }

    /// The lines of that reply, without codes.
    pub(super) fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.lines.split(|byte| *byte == b'\n')
    }
}

/// Code, and whether another line follows.
fn prefix(line: &[u8]) -> Result<(u16, bool), Malformed> {
    let (digits, separator) = match line {
        [a, b, c] => ([*a, *b, *c], b' '),
        [a, b, c, separator, ..] => ([*a, *b, *c], *separator),
        _ => return Err(Malformed::Code),
    };
    if !matches!(digits[0], b'2'..=b'5') || !digits.iter().all(u8::is_ascii_digit) || !matches!(separator, b' ' | b'-') {
        return Err(Malformed::Code);
    }
    let code = digits.iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    Ok((code, separator == b'-'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<Reply>, Malformed> {
        let mut inbox = Inbox::default();
        inbox.space().extend_from_slice(bytes);
        Ok(inbox.take()?.map(|_| inbox.reply()))
    }

    fn reply(bytes: &[u8]) -> Reply {
        read(bytes).expect("well-formed").expect("whole")
    }

    #[test]
    fn codes_that_no_rfc_lists_are_read() {
        for (line, code) in [("571 no\r\n", 571), ("585 no\r\n", 585), ("498 later\r\n", 498), ("250\r\n", 250), ("250 ok\n", 250)]
        {
            assert_eq!(reply(line.as_bytes()).code, code);
        }
    }

    #[test]
    fn an_enhanced_code_is_taken_from_every_line() {
        let reply = reply(b"550-5.1.1 The account\r\n550-5.1.1 does not exist\r\n550 5.1.1 gsmtp\r\n");
        assert_eq!((reply.code, reply.enhanced.as_deref()), (550, Some("5.1.1")));
        assert_eq!(reply.text, "The account\ndoes not exist\ngsmtp");
    }

    #[test]
    fn what_only_looks_like_an_enhanced_code_is_text() {
        for text in ["5.1 no", "5.1.1.1 no", "3.1.1 no", "5.1.1234 no", "10.0.0.1 blocked", "5.a.1 no"] {
            let reply = reply(format!("550 {text}\r\n").as_bytes());
            assert_eq!((reply.enhanced, reply.text.as_str()), (None, text));
        }
    }

    #[test]
    fn text_that_is_not_utf_8_or_holds_nul_can_be_stored() {
        assert_eq!(reply(b"550 Bo\xeete pleine\0\r\n").text, "Bo\u{fffd}te pleine\u{fffd}");
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for bytes in
            [&b"hello\r\n"[..], b"\r\n", b"99\r\n", b"199 no\r\n", b"600 no\r\n", b"2500 no\r\n", b"25x no\r\n", b"250-a\r\nb\r\n"]
        {
            assert_eq!(read(bytes), Err(Malformed::Code), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_line_of_4096_bytes_is_read_and_a_longer_one_is_not() {
        let line = |length: usize| [b"250 ", vec![b'x'; length - 6].as_slice(), b"\r\n"].concat();
        assert_eq!(reply(&line(LONGEST_LINE)).code, 250);
        assert_eq!(read(&line(LONGEST_LINE + 2)), Err(Malformed::LongLine));
        assert_eq!(read(&vec![b'2'; LONGEST_LINE + 1]), Err(Malformed::LongLine), "also without its end");
    }

    #[test]
    fn a_reply_that_never_ends_is_refused_at_64_kib() {
        let lines = |count: usize| [b"250-".as_slice(), &[b'x'; 1018], b"\r\n"].concat().repeat(count);
        assert_eq!(read(&lines(62)), Ok(None));
        assert_eq!(read(&lines(70)), Err(Malformed::LongReply));
    }

    #[test]
    fn an_excerpt_ends_between_characters() {
        let reply = Reply { code: 250, enhanced: None, text: "añb".to_owned() };
        assert_eq!((reply.excerpt(2), reply.excerpt(3), reply.excerpt(99)), ("a", "añ", "añb"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes);
        }

        #[test]
        fn where_the_bytes_are_cut_changes_nothing(text in "[ -~]{0,40}", cut in 0usize..60) {
            let bytes = format!("450-4.2.1 {text}\r\n450 {text}\r\n").into_bytes();
            let cut = cut.min(bytes.len());
            let mut inbox = Inbox::default();
            inbox.space().extend_from_slice(&bytes[..cut]);
            let early = inbox.take().expect("well-formed");
            prop_assert_eq!(early.is_some(), cut == bytes.len());
            if early.is_none() {
                inbox.space().extend_from_slice(&bytes[cut..]);
                prop_assert_eq!(inbox.take(), Ok(Some(450)));
            }
            prop_assert_eq!(inbox.reply(), reply(&bytes));
        }
    }
}
