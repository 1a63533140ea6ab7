use std::borrow::Cow;

use shared::address;

use super::{error::Invalid, offer::Offer};

/// RFC 5321 section 4.5.3.1.3 allows 256 with the angle brackets.
const LONGEST_ADDRESS: usize = 254;

/// The address as it stands on the wire: its domain in A-labels, which every server takes, with SMTPUTF8 and without (RFC 5890).
pub(super) fn envelope(given: &str) -> Cow<'_, str> {
    let Some((local, domain)) = given.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii()) else { return given.into() };
    // What is no domain is refused by the check, with the address in its words.
    address::parse_domain(domain).map_or(given.into(), |ascii| format!("{local}@{ascii}").into())
}

/// Refuses what would end a command line or a path early. The empty reverse path `<>` is valid as a sender.
pub(super) fn check(from: &str, to: &str, offer: &Offer) -> Result<(), Invalid> {
    if to.is_empty() {
        return Err(Invalid::Address(to.to_owned()));
    }
    for address in [from, to] {
        let breaks_out = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
        if address.len() > LONGEST_ADDRESS || address.contains(breaks_out) {
            return Err(Invalid::Address(address.to_owned()));
        }
        if !address.is_ascii() && !offer.utf8 {
            return Err(Invalid::NeedsUtf8(address.to_owned()));
        }
    }
    Ok(())
}

/// `MAIL FROM` with the parameters that the server offered and this message needs.
///
/// A message that is not 7-bit goes out as it is to a server without 8BITMIME: they all take it, and re-encoding would break signatures.
pub(super) fn mail(out: &mut Vec<u8>, from: &str, to: &str, message: &[u8], offer: &Offer) {
    for part in ["MAIL FROM:<", from, ">"] {
        out.extend_from_slice(part.as_bytes());
    }
    if offer.size.is_some() {
        out.extend_from_slice(b" SIZE=");
        out.extend_from_slice(message.len().to_string().as_bytes());
    }
    if offer.eight_bit && !message.is_ascii() {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if !from.is_ascii() || !to.is_ascii() {
        out.extend_from_slice(b" SMTPUTF8");
    }
    out.extend_from_slice(b"\r\n");
}

/// `RCPT TO`.
pub(super) fn recipient(out: &mut Vec<u8>, to: &str) {
    for part in ["RCPT TO:<", to, ">\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_cannot_break_out_of_its_line() {
        for bad in ["a@b.test\r\nDATA", "a@b.test>", "<a@b.test", "a b@c.test", "a\0@b.test", "a@b.test\u{85}", "a@b.test\u{2028}"]
        {
            let expected = Err(Invalid::Address(bad.to_owned()));
            let offer = Offer { utf8: true, ..Offer::default() };
            assert_eq!(check(bad, "a@b.test", &offer), expected);
            assert_eq!(check("a@b.test", bad, &offer), expected);
        }
        let long = format!("{}@b.test", "a".repeat(250));
        assert_eq!(check("", &long, &Offer::default()), Err(Invalid::Address(long.clone())));
    }

    #[test]
    fn a_domain_goes_out_in_a_labels_and_a_local_part_needs_smtputf8() {
        assert_eq!(envelope("ada@Bücher.test"), "ada@xn--bcher-kva.test");
        assert_eq!(envelope("zoë@bücher.test"), "zoë@xn--bcher-kva.test");
        assert_eq!(envelope("ada@bü cher.test"), "ada@bü cher.test");
        assert_eq!(envelope(""), "");
        let (without, with) = (Offer::default(), Offer { utf8: true, ..Offer::default() });
        assert_eq!(check("", &envelope("ada@bücher.test"), &without), Ok(()));
        assert_eq!(check("", "zoë@b.test", &with), Ok(()));
        let refused = check("", "zoë@b.test", &without).expect_err("it cannot be written");
        assert_eq!(refused.to_string(), "\"zoë@b.test\" is not ASCII and the server does not offer SMTPUTF8");
    }

    #[test]
    fn only_a_sender_may_be_empty() {
        assert_eq!(check("", "a@b.test", &Offer::default()), Ok(()));
        assert_eq!(check("a@b.test", "", &Offer::default()), Err(Invalid::Address(String::new())));
    }

    #[test]
    fn parameters_follow_the_offer_and_the_need() {
        let everything = Offer { size: Some(0), eight_bit: true, utf8: true, ..Offer::default() };
        let line = |to: &str, message: &str, offer: &Offer| {
            let mut out = Vec::new();
            mail(&mut out, "s@a.test", to, message.as_bytes(), offer);
            String::from_utf8(out).expect("text")
        };
        assert_eq!(line("r@b.test", "hi", &everything), "MAIL FROM:<s@a.test> SIZE=2\r\n");
        assert_eq!(line("ü@b.test", "hü", &everything), "MAIL FROM:<s@a.test> SIZE=3 BODY=8BITMIME SMTPUTF8\r\n");
        assert_eq!(line("r@b.test", "hü", &Offer::default()), "MAIL FROM:<s@a.test>\r\n");
    }
}
