//! Header fields of a mail: RFC 5322 folding, RFC 2047 encoded-words. Nothing that a value holds can end its field.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Octets of a line that hold no encoded-word, RFC 5322 section 2.1.1.
const LINE: usize = 78;
/// Octets of a line that holds one, RFC 2047 section 2.
const ENCODED_LINE: usize = 76;
/// `=?UTF-8?B?` and `?=`.
const FRAME: usize = 12;

/// Appends an unstructured field, such as a subject: `Name: value` and the line end.
pub fn unstructured(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let column = name.len() + 1;
    if is_plain(value, LINE - 1 - column) {
        words(out, column, value);
    } else {
        encoded_words(out, column, value, false);
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a field whose value has a syntax of its own: it is folded between words and never encoded. The value is ASCII; what is not
/// printable becomes a space.
pub fn structured(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    let mut column = name.len() + 1;
    for word in value.split(|c: char| !c.is_ascii_graphic()).filter(|word| !word.is_empty()) {
        if column + 1 + word.len() > LINE && column > name.len() + 1 {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.push(b' ');
        out.extend_from_slice(word.as_bytes());
        column += 1 + word.len();
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends a field with one address: `Name: Ada Lovelace <ada@example.com>`. `address` must be one that was parsed.
pub fn mailbox(out: &mut Vec<u8>, field: &str, name: &str, address: &str) {
    out.extend_from_slice(field.as_bytes());
    out.push(b':');
    let start = out.len() - field.len() - 1;
    let name = name.trim_matches(|c: char| c.is_whitespace() || c.is_control());
    if name.is_empty() {
        out.push(b' ');
        out.extend_from_slice(address.as_bytes());
        out.extend_from_slice(b"\r\n");
        return;
    }
    let column = field.len() + 1;
    let room = LINE - 3 - column;
    if name.len() <= room && name.bytes().all(|b| is_atext(b) || b == b' ') && is_plain(name, room) {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
    } else if name.len() + name.bytes().filter(|b| matches!(b, b'"' | b'\\')).count() <= room && is_plain(name, room) {
        out.extend_from_slice(b" \"");
        for byte in name.bytes() {
            if matches!(byte, b'"' | b'\\') {
                out.push(b'\\');
            }
            out.push(byte);
        }
        out.push(b'"');
    } else {
        encoded_words(out, column, name, true);
    }
    let line = out[start..].iter().rev().take_while(|b| **b != b'\n').count();
    out.extend_from_slice(if line + address.len() + 3 > LINE { b"\r\n <" } else { b" <" });
    out.extend_from_slice(address.as_bytes());
    out.extend_from_slice(b">\r\n");
}

/// Whether the value can stand as it is: printable ASCII, nothing that looks encoded, single spaces between words that fit on a line.
fn is_plain(value: &str, longest_word: usize) -> bool {
    value.bytes().all(|b| (b' '..=b'~').contains(&b))
        && !value.contains("=?")
        && value.split(' ').all(|word| !word.is_empty() && word.len() <= longest_word)
}

fn is_atext(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

fn words(out: &mut Vec<u8>, mut column: usize, value: &str) {
    for word in value.split(' ') {
        if column + 1 + word.len() > LINE {
            out.extend_from_slice(b"\r\n");
            column = 0;
        }
        out.push(b' ');
        out.extend_from_slice(word.as_bytes());
        column += 1 + word.len();
    }
}

/// Writes ` =?UTF-8?…?=` as often as needed, each on a line of at most 76 octets, none with half a character. Control characters
/// become spaces. In a phrase fewer characters may stand for themselves (RFC 2047 section 5, rule 3).
fn encoded_words(out: &mut Vec<u8>, column: usize, value: &str, phrase: bool) {
    let cleaned: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let quoted_length: usize = cleaned.bytes().map(|b| if stands_for_itself(b, phrase) || b == b' ' { 1 } else { 3 }).sum();
    // Legible where most of it is; dense otherwise.
    let quoted = quoted_length <= 2 * cleaned.len();
    let mut rest = cleaned.as_str();
    let mut room = ENCODED_LINE.saturating_sub(column + 1 + FRAME);
    let mut first = true;
    while !rest.is_empty() {
        if !first || room < 12 {
            out.extend_from_slice(b"\r\n");
            room = ENCODED_LINE - 1 - FRAME;
        }
        first = false;
        let mut taken = 0;
        let mut used = 0;
        for character in rest.chars() {
            let end = taken + character.len_utf8();
            let cost = if quoted {
                let bytes = rest[taken..end].bytes();
                used + bytes.map(|b| if stands_for_itself(b, phrase) || b == b' ' { 1 } else { 3 }).sum::<usize>()
            } else {
                end.div_ceil(3) * 4
            };
            if cost > room {
                break;
            }
            (taken, used) = (end, cost);
        }
        let (word, after) = rest.split_at(taken);
        out.extend_from_slice(if quoted { b" =?UTF-8?Q?" } else { b" =?UTF-8?B?" });
        if quoted {
            quote(out, word, phrase);
        } else {
            out.extend_from_slice(STANDARD.encode(word).as_bytes());
        }
        out.extend_from_slice(b"?=");
        rest = after;
    }
}

fn stands_for_itself(byte: u8, phrase: bool) -> bool {
    match byte {
        b'=' | b'?' | b'_' | b' ' => false,
        _ if phrase => byte.is_ascii_alphanumeric() || matches!(byte, b'!' | b'*' | b'+' | b'-' | b'/'),
        _ => byte.is_ascii_graphic(),
    }
}

fn quote(out: &mut Vec<u8>, word: &str, phrase: bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in word.bytes() {
        match byte {
            b' ' => out.push(b'_'),
            _ if stands_for_itself(byte, phrase) => out.push(byte),
            _ => out.extend_from_slice(&[b'=', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(value: &str) -> String {
        let mut out = Vec::new();
        unstructured(&mut out, "Subject", value);
        String::from_utf8(out).expect("ASCII")
    }

    fn to(name: &str) -> String {
        let mut out = Vec::new();
        mailbox(&mut out, "To", name, "ada@example.com");
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn a_plain_value_stands_as_it_is_and_is_folded_between_words() {
        assert_eq!(subject("Spring sale"), "Subject: Spring sale\r\n");
        let long = subject(&["word"; 40].join(" "));
        assert_eq!(long.lines().map(str::len).collect::<Vec<_>>(), [78, 75, 55]);
    }

    #[test]
    fn another_script_becomes_encoded_words() {
        assert_eq!(subject("Frühling"), "Subject: =?UTF-8?Q?Fr=C3=BChling?=\r\n");
        assert_eq!(subject("春のセール"), "Subject: =?UTF-8?B?5pil44Gu44K744O844Or?=\r\n");
        assert!(subject(&"é😀".repeat(40)).lines().all(|line| line.len() <= 76));
    }

    #[test]
    fn what_looks_encoded_is_encoded() {
        assert_eq!(subject("=?UTF-8?Q?x?="), "Subject: =?UTF-8?Q?=3D=3FUTF-8=3FQ=3Fx=3F=3D?=\r\n");
    }

    #[test]
    fn a_name_is_bare_quoted_or_encoded() {
        assert_eq!(to(""), "To: ada@example.com\r\n");
        assert_eq!(to("Ada Lovelace"), "To: Ada Lovelace <ada@example.com>\r\n");
        assert_eq!(to(r#"Ada "A." \ Lovelace, Ltd"#), "To: \"Ada \\\"A.\\\" \\\\ Lovelace, Ltd\" <ada@example.com>\r\n");
        assert_eq!(to("Zoë, B."), "To: =?UTF-8?Q?Zo=C3=AB=2C_B=2E?= <ada@example.com>\r\n");
        assert_eq!(to("Eve\r\nBcc: x@y.test"), "To: =?UTF-8?Q?Eve__Bcc=3A_x=40y=2Etest?= <ada@example.com>\r\n");
    }
}
