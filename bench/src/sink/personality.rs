/// How a recipient's domain behaves, by how the domain begins; a local part such as `bounce-7@` does the same for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "HELP says what each does")]
pub enum Personality {
    Plain,
    Greylist,
    Bounce,
    Reject,
    Busy,
    Slow,
    Tarpit,
    Drop,
    Mute,
    Flaky,
    Full,
    Latin,
    Long,
    Unlisted,
    Reused,
}

/// What `--help` says about them.
pub const HELP: &str = "\
Recipients behave by the beginning of their domain (greylist3.test), or of their local part up to a hyphen (greylist-7@example.com):
  greylist  451 4.7.1 at the first try of each recipient, then accepted
  bounce    550 5.1.1 at RCPT
  reject    554 5.7.1 after the final dot
  busy      over 20 messages a second in a domain: 452 4.3.2, every fifth of them 421 4.7.0 and the connection ends
  slow      accepted after 2 s
  tarpit    accepted after 30 s
  drop      the connection ends at DATA at the first try of each recipient, then accepted
  mute      the final dot is never answered at the first try of each recipient (the message counts), then accepted
  flaky     every tenth RCPT of a domain gets 451 4.3.0
  full      452 4.2.2 at RCPT, always
  latin     accepted with a reply that is not UTF-8
  long      accepted with a reply of 64 KB
  571       571 at RCPT, a code that no RFC lists
  reused    421 4.3.2 at RCPT, and the connection ends, if it has carried a message; accepted on a fresh one
All others accept; of timed* domains the moment of each arrival is noted.

HTTP: GET /stats, /domains/{domain}/seconds, /domains/{domain}/arrivals, /messages?limit=5, /config, /health; PUT /config {delay_ms, slow_ms, tarpit_ms,
busy_per_second, refuse_connections, banner_code, banner_ms, most_connections, most_messages, broken_tls, offers_nothing}; POST /reset.";

const PREFIXES: [(&str, Personality); 14] = [
    ("greylist", Personality::Greylist),
    ("bounce", Personality::Bounce),
    ("reject", Personality::Reject),
    ("busy", Personality::Busy),
    ("slow", Personality::Slow),
    ("tarpit", Personality::Tarpit),
    ("drop", Personality::Drop),
    ("mute", Personality::Mute),
    ("flaky", Personality::Flaky),
    ("full", Personality::Full),
    ("latin", Personality::Latin),
    ("long", Personality::Long),
    ("571", Personality::Unlisted),
    ("reused", Personality::Reused),
];

impl Personality {
    /// `domain` in lower case.
    #[must_use]
    pub fn of(local: &str, domain: &str) -> Self {
        let by_domain = PREFIXES.iter().find(|(prefix, _)| domain.starts_with(prefix));
        let by_local = || {
            let (word, _) = local.split_once('-')?;
            PREFIXES.iter().find(|(prefix, _)| word == *prefix)
        };
        by_domain.or_else(by_local).map_or(Self::Plain, |(_, personality)| *personality)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_or_one_recipient_misbehaves() {
        assert_eq!(Personality::of("a", "bounce2.test"), Personality::Bounce);
        assert_eq!(Personality::of("greylist-7", "example.com"), Personality::Greylist);
        assert_eq!(Personality::of("greylist7", "example.com"), Personality::Plain);
        assert_eq!(Personality::of("a-bounce", "mail.bounce.test"), Personality::Plain);
        assert_eq!(Personality::of("a", "571.test"), Personality::Unlisted);
    }

    #[test]
    fn the_help_names_each_of_them() {
        assert!(PREFIXES.iter().all(|(prefix, _)| HELP.contains(&format!("\n  {prefix} "))));
    }
}
