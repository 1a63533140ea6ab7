//! Bodies of a mail: line ends, and the transfer encoding that fits best. Everything that comes out is 7 bit.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Longest encoded line, RFC 2045 sections 6.7 and 6.8.
const LINE: usize = 76;
/// Octets that fill a base64 line.
const BASE64_OCTETS: usize = LINE / 4 * 3;

/// What an octet costs in quoted-printable.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stands for itself.
    Itself,
    /// Space or tab: stands for itself but at the end of a line.
    Blank,
    /// `=XX`.
    Encoded,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Encoded; 256];
    let mut octet = 33;
    while octet < 127 {
        classes[octet] = Class::Itself;
        octet += 1;
    }
    classes[b'=' as usize] = Class::Encoded;
    classes[b' ' as usize] = Class::Blank;
    classes[b'\t' as usize] = Class::Blank;
    classes
};

/// Appends the `Content-Transfer-Encoding` field, the empty line and the body, without a line end after its last line. Line ends of
/// any kind become CRLF; NUL is dropped.
pub fn body(out: &mut Vec<u8>, text: &str) {
    // NUL has no place in a mail, and hardly ever stands in one.
    let without_nul = text.contains('\0').then(|| text.replace('\0', ""));
    let text = without_nul.as_deref().unwrap_or(text);
    let measure = Measure::of(text);
    if measure.fits_as_it_is() {
        out.extend_from_slice(b"Content-Transfer-Encoding: 7bit\r\n\r\n");
        as_it_is(out, text);
    } else if measure.quoted_length() <= measure.base64_length() {
        out.extend_from_slice(b"Content-Transfer-Encoding: quoted-printable\r\n\r\n");
        quoted_printable(out, text);
    } else {
        out.extend_from_slice(b"Content-Transfer-Encoding: base64\r\n\r\n");
        let mut octets = Vec::with_capacity(text.len() + text.len() / 32);
        as_it_is(&mut octets, text);
        base64(out, &octets);
    }
}

/// Whether the class is [`Class::Encoded`], without a look-up.
const fn is_encoded(byte: u8) -> bool {
    byte == b'=' || (byte.wrapping_sub(b' ') > b'~' - b' ' && byte != b'\t')
}

#[derive(Default)]
struct Measure {
    octets: usize,
    encoded: usize,
    equals: usize,
    longest_line: usize,
    trailing_blank: bool,
}

impl Measure {
    fn of(text: &str) -> Self {
        let mut measure = Self { octets: text.len(), ..Self::default() };
        let mut line_ends = 0;
        for line in lines(text) {
            measure.longest_line = measure.longest_line.max(line.len());
            measure.trailing_blank |= line.last().is_some_and(|b| CLASSES[usize::from(*b)] == Class::Blank);
        }
        // Counted over all at once, in a loop that the compiler can make wide.
        for byte in text.as_bytes() {
            measure.encoded += usize::from(is_encoded(*byte));
            measure.equals += usize::from(*byte == b'=');
            line_ends += usize::from(matches!(byte, b'\r' | b'\n'));
        }
        measure.encoded -= line_ends;
        measure
    }

    /// Printable ASCII in short lines. `=` needs no encoding here.
    fn fits_as_it_is(&self) -> bool {
        self.encoded == self.equals && self.longest_line <= LINE && !self.trailing_blank
    }

    fn quoted_length(&self) -> usize {
        let octets = self.octets + 2 * self.encoded;
        octets + octets / (LINE - 1) * 3
    }

    fn base64_length(&self) -> usize {
        let octets = self.octets.div_ceil(3) * 4;
        octets + octets / LINE * 2
    }
}

/// The lines, whichever way they end; at least one.
fn lines(text: &str) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text.as_bytes());
    std::iter::from_fn(move || {
        let bytes = rest?;
        match memchr::memchr2(b'\n', b'\r', bytes) {
            None => {
                rest = None;
                Some(bytes)
            }
            Some(end) => {
                let skip = if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
                rest = Some(&bytes[end + skip..]);
                Some(&bytes[..end])
            }
        }
    })
}

fn as_it_is(out: &mut Vec<u8>, text: &str) {
    for (index, line) in lines(text).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(line);
    }
}

fn quoted_printable(out: &mut Vec<u8>, text: &str) {
    for (index, line) in lines(text).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        quoted_line(out, line);
    }
}

fn quoted_line(out: &mut Vec<u8>, line: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut column = 0;
    let mut position = 0;
    while position < line.len() {
        // A run of octets that stand for themselves is copied whole, as far as the line has room.
        let room = (LINE - 1 - column).min(line.len() - position);
        let run = plain_run(&line[position..position + room]);
        let ends_blank = position + run == line.len() && run > 0 && CLASSES[usize::from(line[line.len() - 1])] == Class::Blank;
        let run = run - usize::from(ends_blank);
        if run > 0 {
            out.extend_from_slice(&line[position..position + run]);
            column += run;
            position += run;
            continue;
        }
        let byte = line[position];
        match CLASSES[usize::from(byte)] {
            Class::Encoded | Class::Blank if column + 3 < LINE => {
                out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
                column += 3;
                position += 1;
            }
            _ => {
                out.extend_from_slice(b"=\r\n");
                column = 0;
            }
        }
    }
}

/// How many octets from the start stand for themselves: sixteen at a time while none of them needs encoding.
fn plain_run(octets: &[u8]) -> usize {
    const WIDE: usize = 16;
    let wide =
        octets.chunks_exact(WIDE).take_while(|chunk| !chunk.iter().fold(false, |any, b| any | is_encoded(*b))).count() * WIDE;
    wide + octets[wide..].iter().take_while(|b| !is_encoded(**b)).count()
}

/// Appends octets as they are, in base64, without a line end after its last line.
pub fn base64(out: &mut Vec<u8>, octets: &[u8]) {
    let mut line = [0; LINE];
    for (index, chunk) in octets.chunks(BASE64_OCTETS).enumerate() {
        if index > 0 {
            out.extend_from_slice(b"\r\n");
        }
        let length = STANDARD.encode_slice(chunk, &mut line).unwrap_or(0);
        out.extend_from_slice(&line[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(text: &str) -> String {
        let mut out = Vec::new();
        body(&mut out, text);
        String::from_utf8(out).expect("7 bit").replace("Content-Transfer-Encoding: ", "")
    }

    #[test]
    fn the_quick_test_agrees_with_the_classes() {
        for octet in 0..=u8::MAX {
            assert_eq!(is_encoded(octet), CLASSES[usize::from(octet)] == Class::Encoded, "{octet}");
        }
    }

    #[test]
    fn the_smallest_encoding_that_fits_is_taken() {
        assert_eq!(encoded("a = b\nc"), "7bit\r\n\r\na = b\r\nc");
        assert_eq!(
            encoded("caf\u{e9}, plainly, with much ASCII around it"),
            "quoted-printable\r\n\r\ncaf=C3=A9, plainly, with much ASCII around it"
        );
        assert_eq!(encoded("春のセール"), "base64\r\n\r\n5pil44Gu44K744O844Or");
    }

    #[test]
    fn a_blank_at_the_end_of_a_line_survives() {
        assert_eq!(encoded("a \nb\t"), "quoted-printable\r\n\r\na=20\r\nb=09");
    }

    #[test]
    fn a_long_line_is_broken_softly_and_never_inside_an_escape() {
        let out = encoded(&format!("{}é{}", "x".repeat(74), "y".repeat(200)));
        let body = out.split_once("\r\n\r\n").expect("a body").1;
        assert!(body.lines().all(|line| line.len() <= 76));
        assert_eq!(body.replace("=\r\n", ""), format!("{}=C3=A9{}", "x".repeat(74), "y".repeat(200)));
    }

    #[test]
    fn no_line_end_survives_as_it_was_and_no_nul_at_all() {
        assert_eq!(
            encoded("a\rb\nc\r\nd\0\u{1}e=f plus enough plain text to make it worth"),
            "quoted-printable\r\n\r\na\r\nb\r\nc\r\nd=01e=3Df plus enough plain text to make it worth"
        );
    }
}
