/// Writes the message as it stands between DATA and the end of it: every line end is CRLF (a bare CR or LF would let a body smuggle
/// commands past servers that take it for a line end), a dot that begins a line is doubled (RFC 5321 section 4.5.2), `CRLF.CRLF` ends it.
pub(super) fn stuff(message: &[u8], out: &mut Vec<u8>) {
    out.reserve(message.len() + message.len() / 32 + 8);
    let mut rest = message;
    while !rest.is_empty() {
        if rest[0] == b'.' {
            out.push(b'.');
        }
        let end = memchr::memchr2(b'\r', b'\n', rest);
        let (line, after) = match end {
            None => (rest, &rest[rest.len()..]),
            Some(end) if rest[end..].starts_with(b"\r\n") => (&rest[..end], &rest[end + 2..]),
            Some(end) => (&rest[..end], &rest[end + 1..]),
        };
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
        rest = after;
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stuffed(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        stuff(message, &mut out);
        out
    }

    #[test]
    fn dots_and_line_ends_come_out_right() {
        for (message, expected) in [
            ("", ".\r\n"),
            ("a", "a\r\n.\r\n"),
            ("a\r\n", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            (".\r\n..\r\n", "..\r\n...\r\n.\r\n"),
            ("a\n.\nRSET\n", "a\r\n..\r\nRSET\r\n.\r\n"),
            ("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\r\nb", "a\r\n\r\nb\r\n.\r\n"),
            ("a.b\r\n", "a.b\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8_lossy(&stuffed(message.as_bytes())), expected, "{message:?}");
        }
    }

    proptest! {
        #[test]
        fn only_the_end_looks_like_the_end(message in proptest::collection::vec(prop_oneof![Just(b'.'), Just(b'\r'), Just(b'\n'), any::<u8>()], 0..200)) {
            let out = [b"\r\n".as_slice(), &stuffed(&message)].concat();
            let ends: Vec<_> = out.windows(5).enumerate().filter(|(_, window)| window == b"\r\n.\r\n").map(|(at, _)| at).collect();
            prop_assert_eq!(ends, vec![out.len() - 5]);
            let bare_lf = out.windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r');
            let bare_cr = out.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n');
            prop_assert!(!bare_lf && !bare_cr);
        }
    }
}
