/// What the server announced in its answer to EHLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) pipelining: bool,
    pub(super) starttls: bool,
    pub(super) eight_bit: bool,
    pub(super) utf8: bool,
    /// RFC 1870; `Some(0)` has no limit.
    pub(super) size: Option<u64>,
    pub(super) auth_plain: bool,
    pub(super) auth_login: bool,
    /// RFC 9422: messages per connection.
    pub(super) mail_max: Option<u32>,
    /// RFC 9422: recipients per message.
    pub(super) recipient_max: Option<u32>,
}

impl Offer {
    /// The lines after the first one, which greets.
    pub(super) fn read<'a>(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut offer = Self::default();
        for line in lines.skip(1) {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            // "AUTH=LOGIN" is how servers of the last century wrote it.
            let mut words = line.split([' ', '\t', '=']).filter(|word| !word.is_empty());
            match words.next() {
                Some("PIPELINING") => offer.pipelining = true,
                Some("STARTTLS") => offer.starttls = true,
                Some("8BITMIME") => offer.eight_bit = true,
                Some("SMTPUTF8") => offer.utf8 = true,
                Some("SIZE") => offer.size = Some(words.next().and_then(|size| size.parse().ok()).unwrap_or(0)),
                Some("AUTH") => words.for_each(|mechanism| match mechanism {
                    "PLAIN" => offer.auth_plain = true,
                    "LOGIN" => offer.auth_login = true,
                    _ => {}
                }),
                Some("LIMITS") => {
                    while let (Some(name), Some(value)) = (words.next(), words.next()) {
                        match name {
                            "MAILMAX" => offer.mail_max = value.parse().ok(),
                            "RCPTMAX" => offer.recipient_max = value.parse().ok(),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_is_understood() {
        let lines = [
            "mx.example.com greets PIPELINING",
            "pipelining",
            "SIZE 1000",
            "8BITMIME",
            "AUTH=LOGIN",
            "AUTH CRAM-MD5 PLAIN",
            "LIMITS MAILMAX=20 RCPTMAX=100 RCPTDOMAINMAX=1",
            "XUNKNOWN 1",
            "SMTPUTF8",
            "STARTTLS",
        ];
        let offer = Offer::read(lines.iter().map(|line| line.as_bytes()));
        let expected = Offer {
            pipelining: true,
            starttls: true,
            eight_bit: true,
            utf8: true,
            size: Some(1000),
            auth_plain: true,
            auth_login: true,
            mail_max: Some(20),
            recipient_max: Some(100),
        };
        assert_eq!(offer, expected);
    }

    #[test]
    fn the_greeting_line_offers_nothing() {
        assert_eq!(Offer::read([b"PIPELINING".as_slice()].into_iter()), Offer::default());
    }
}
