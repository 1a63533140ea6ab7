//! A line of a client, read. Pure.

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// HELO.
    Helo,
    /// EHLO.
    Ehlo,
    /// LHLO.
    Lhlo,
    /// MAIL FROM, with the size that it announces.
    Mail { sender: String, size: Option<u64> },
    /// RCPT TO.
    Recipient(String),
    /// DATA.
    Data,
    /// RSET.
    Reset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Verify,
    /// STARTTLS.
    StartTls,
    /// One that we know and do not do.
    NotOffered,
    /// One that we know, with arguments that we do not: the answer.
    Wrong(&'static str),
    /// None that we know.
    Unknown,
}

const PATH: &str = "501 5.1.7 the address is not well-formed";
const PARAMETER: &str = "555 5.5.4 a parameter is not known";
/// Octets of an address: RFC 5321 section 4.5.3.1.3.
const LONGEST_PATH: usize = 254;

/// Reads a line without its CRLF.
#[must_use]
pub fn read(line: &[u8]) -> Command {
    let Ok(line) = std::str::from_utf8(line) else { return Command::Unknown };
    if line.chars().any(char::is_control) {
        return Command::Unknown;
    }
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    let rest = rest.trim();
    match verb.to_ascii_uppercase().as_str() {
        "HELO" | "EHLO" | "LHLO" if rest.is_empty() => Command::Wrong("501 5.5.4 a name is needed"),
        "HELO" => Command::Helo,
        "EHLO" => Command::Ehlo,
        "LHLO" => Command::Lhlo,
        "MAIL" => mail(rest),
        "RCPT" => recipient(rest),
        "DATA" => Command::Data,
        "RSET" => Command::Reset,
        "NOOP" => Command::Noop,
        "QUIT" => Command::Quit,
        "VRFY" => Command::Verify,
        "STARTTLS" => Command::StartTls,
        "AUTH" | "BDAT" | "ETRN" | "EXPN" | "HELP" | "TURN" => Command::NotOffered,
        _ => Command::Unknown,
    }
}

fn mail(rest: &str) -> Command {
    let Some((sender, parameters)) = path(rest, "FROM:") else { return Command::Wrong(PATH) };
    let mut size = None;
    for parameter in parameters.split_whitespace() {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name.to_ascii_uppercase().as_str() {
            "SIZE" => match value.parse() {
                Ok(octets) => size = Some(octets),
                Err(_) => return Command::Wrong("501 5.5.4 SIZE is not a number"),
            },
            "BODY" if ["7BIT", "8BITMIME"].contains(&value.to_ascii_uppercase().as_str()) => {}
            "SMTPUTF8" if value.is_empty() => {}
            _ => return Command::Wrong(PARAMETER),
        }
    }
    Command::Mail { sender: sender.to_owned(), size }
}

fn recipient(rest: &str) -> Command {
    match path(rest, "TO:") {
        Some(("", _)) | None => Command::Wrong("501 5.1.3 the address is not well-formed"),
        Some((_, parameters)) if !parameters.trim().is_empty() => Command::Wrong(PARAMETER),
        Some((address, _)) => Command::Recipient(address.to_owned()),
    }
}

/// The address between the angle brackets, a source route taken off, and what follows it.
fn path<'a>(rest: &'a str, keyword: &str) -> Option<(&'a str, &'a str)> {
    let (head, tail) = rest.split_at_checked(keyword.len())?;
    if !head.eq_ignore_ascii_case(keyword) {
        return None;
    }
    let (inside, parameters) = tail.trim_start().strip_prefix('<')?.split_once('>')?;
    let address = match inside.strip_prefix('@') {
        Some(route) => route.split_once(':')?.1,
        None => inside,
    };
    let good = address.len() <= LONGEST_PATH && !address.contains(['<', ' ']) && (address.is_empty() || address.contains('@'));
    good.then_some((address, parameters))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn commands_are_read_as_rfc_5321_writes_them_and_as_people_do() {
        let mail = |sender: &str, size| Command::Mail { sender: sender.to_owned(), size };
        let to = |address: &str| Command::Recipient(address.to_owned());
        for (line, expected) in [
            ("EHLO mx.example.com", Command::Ehlo),
            ("ehlo", Command::Wrong("501 5.5.4 a name is needed")),
            ("LHLO a", Command::Lhlo),
            ("MAIL FROM:<>", mail("", None)),
            ("mail from: <a@b.test> SIZE=10 BODY=8BITMIME SMTPUTF8", mail("a@b.test", Some(10))),
            ("MAIL FROM:<a@b.test> SIZE=x", Command::Wrong("501 5.5.4 SIZE is not a number")),
            ("MAIL FROM:<a@b.test> RET=FULL", Command::Wrong(PARAMETER)),
            ("MAIL FROM:a@b.test", Command::Wrong(PATH)),
            ("RCPT TO:<@relay.test:a@b.test>", to("a@b.test")),
            ("RCPT TO:<>", Command::Wrong("501 5.1.3 the address is not well-formed")),
            ("RCPT TO:<a@b.test> NOTIFY=NEVER", Command::Wrong(PARAMETER)),
            ("RCPT TO:<a b@c.test>", Command::Wrong("501 5.1.3 the address is not well-formed")),
            ("AUTH PLAIN", Command::NotOffered),
            ("GET / HTTP/1.1", Command::Unknown),
            ("NOOP\u{7}", Command::Unknown),
        ] {
            assert_eq!(read(line.as_bytes()), expected, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_is_read(line in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&line);
        }
    }
}
