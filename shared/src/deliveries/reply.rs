//! What a mail server's answer means for the recipient, for its destination and for our route. A rule without SQL.
//!
//! The first digit of the code decides between now and later (RFC 5321 section 4.2.1). A telling text of the table ([`bounce_rules`]) goes
//! before the enhanced code, since servers are known to disagree about codes; otherwise the code's subject (RFC 3463) says whose fault
//! it is.

use std::fmt;

use super::bounce_rules::{self, Class as Complaint, Ground, Meaning};

/// The step of an SMTP session that a reply or an error belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// TCP.
    Connect,
    /// The server's first line.
    Greeting,
    /// EHLO.
    Hello,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Auth,
    /// The first answer on a kept connection: the server may have closed it since. Says nothing about the message.
    Reuse,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Recipient,
    /// DATA, up to the final dot.
    Data,
    /// The answer to the final dot.
    Dot,
}

impl Stage {
    /// One word, for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Greeting => "greeting",
            Self::Hello => "hello",
            Self::Tls => "tls",
            Self::Auth => "auth",
            Self::Reuse => "reuse",
            Self::Mail => "mail",
            Self::Recipient => "recipient",
            Self::Data => "data",
            Self::Dot => "dot",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What the server complains about.
    pub class: Class,
    /// The address itself is bad: it may be suppressed.
    pub hard: bool,
    /// What becomes of the recipient.
    pub action: Action,
    /// Whose matter it is.
    pub scope: Scope,
    /// Slows the destination down.
    pub throttles: bool,
    /// Counts towards the destination's suspension.
    pub policy: bool,
}

/// What becomes of the recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The server has the message.
    Accept,
    /// Again later.
    Defer,
    /// Permanent, because of the recipient or its domain.
    Bounce,
    /// Permanent, for another reason.
    Fail,
}

/// Whose matter an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// This recipient alone.
    Recipient,
    /// Everybody at this destination.
    Destination,
    /// Everybody who goes over this route: another route may do.
    Route,
}

/// What the server complains about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Nothing.
    Accepted,
    /// Too much, too fast, or not now.
    Busy,
    /// It does not know us yet; the same again in some minutes.
    Greylisted,
    /// The mailbox is full, or receives too much.
    Mailbox,
    /// No such address, or an address that does not take mail.
    Address,
    /// Our reputation, our authentication, or the content.
    Policy,
    /// The message, e.g. its size.
    Message,
    /// The relay does not know us, or wants TLS or AUTH.
    Credentials,
    /// The connection ended or never began: says nothing about the message.
    Connection,
    /// The server and we are out of step.
    Protocol,
    /// None of these.
    Other,
}

impl Class {
    /// One word, for logs, metrics and `deliveries.reason`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Busy => "busy",
            Self::Greylisted => "greylisted",
            Self::Mailbox => "mailbox",
            Self::Address => "address",
            Self::Policy => "policy",
            Self::Message => "message",
            Self::Credentials => "credentials",
            Self::Connection => "connection",
            Self::Protocol => "protocol",
            Self::Other => "rejected",
        }
    }
}

impl Verdict {
    fn new(class: Class, action: Action, scope: Scope) -> Self {
        Self { class, hard: false, action, scope, throttles: false, policy: false }
    }
}

/// Judges an answer. `enhanced` is the enhanced status code, `text` what follows it.
#[must_use]
pub fn classify(stage: Stage, code: u16, enhanced: Option<&str>, text: &str) -> Verdict {
    let status = Status::parse(enhanced);
    let said = || Some(bounce_rules::judge(enhanced, Some(code), text)).filter(|meaning| meaning.ground == Ground::Text);
    let text = Text(text.to_ascii_lowercase());
    match (stage, code) {
        (_, 200..=299) => Verdict::new(Class::Accepted, Action::Accept, Scope::Recipient),
        (Stage::Reuse, _) => Verdict::new(Class::Connection, Action::Defer, Scope::Route),
        // Before MAIL nobody's recipient was named: the relay has a matter with us.
        (Stage::Auth | Stage::Tls, _) => Verdict::new(Class::Credentials, Action::Defer, Scope::Route),
        (Stage::Connect | Stage::Greeting | Stage::Hello, _) => Verdict::new(Class::Connection, Action::Defer, Scope::Route),
        (_, 400..=499) => transient(code, status, &text, said()),
        (_, 500..=599) => permanent(stage, code, status, &text, said()),
        _ => Verdict::new(Class::Protocol, Action::Defer, Scope::Route),
    }
}

/// `said` is what a telling text of the table means.
fn transient(code: u16, status: Status, text: &Text, said: Option<Meaning>) -> Verdict {
    let defer = |class, scope| Verdict::new(class, Action::Defer, scope);
    let said = said.map(|meaning| meaning.class);
    if code == 432 || code == 454 && status == (7, 0) || said == Some(Complaint::RelayDenied) {
        // 432: password transition needed; 454 4.7.0: temporary authentication failure (RFC 4954 section 6).
        return defer(Class::Credentials, Scope::Route);
    }
    // 4.7.1 is both greylisting and policy; "try again later" alone is said by everybody, so it counts only beside 4.7.1.
    if text.says(&GREYLISTED) || status == (7, 1) && text.says(&["try again", "try later", "come back later"]) {
        return defer(Class::Greylisted, Scope::Recipient);
    }
    // The mailbox (x.2.x) and the address (x.1.x) are one recipient's matter, whatever the code.
    if status.subject == 2 || matches!(said, Some(Complaint::Quota | Complaint::Inactive)) {
        return defer(Class::Mailbox, Scope::Recipient);
    }
    if status.subject == 1 || said == Some(Complaint::InvalidRecipient) {
        return defer(Class::Address, Scope::Recipient);
    }
    let throttles = matches!(code, 421 | 450 | 451 | 452 | 454);
    // 4.7.23 to 4.7.32 are what big providers answer before they refuse for good; TSS marks Yahoo's deferrals for complaints.
    let policy = status.subject == 7 && (23..=32).contains(&status.detail) || text.says(&["[tss0", "[ts0"]);
    let class = if policy {
        Class::Policy
    } else if throttles {
        Class::Busy
    } else {
        Class::Other
    };
    Verdict { throttles, policy, ..defer(class, Scope::Destination) }
}

fn permanent(stage: Stage, code: u16, status: Status, text: &Text, said: Option<Meaning>) -> Verdict {
    let route = |class| Verdict::new(class, Action::Defer, Scope::Route);
    let bounce = |class, hard| Verdict { hard, ..Verdict::new(class, Action::Bounce, Scope::Recipient) };
    let fail = |class, scope| Verdict::new(class, Action::Fail, scope);
    match code {
        503 => return route(Class::Protocol),
        530 | 534 | 535 | 538 | 523 => return route(Class::Credentials),
        _ => {}
    }
    // 5.7.8 credentials invalid, 5.7.9 mechanism too weak, 5.7.10 encryption needed, 5.7.11 encryption required for it.
    if status.subject == 7 && (8..=11).contains(&status.detail) || said.is_some_and(|said| said.class == Complaint::RelayDenied) {
        return route(Class::Credentials);
    }
    // Before RCPT nobody was named but the sender: what is said there of users and domains is said of it.
    let named = !matches!(stage, Stage::Mail);
    match said.map(|said| (said.class, said.hard)) {
        Some((Complaint::InvalidRecipient | Complaint::BadDomain, hard)) if named => return bounce(Class::Address, hard),
        Some((Complaint::Quota | Complaint::Inactive, hard)) if named => return bounce(Class::Mailbox, hard),
        Some((Complaint::SpamBlock | Complaint::Reputation, _)) => {
            return Verdict { policy: true, ..fail(Class::Policy, Scope::Destination) };
        }
        _ => {}
    }
    match (status.subject, status.detail) {
        // 5.1.7 and 5.1.8 are about our sender address.
        (1, 7 | 8) => return fail(Class::Policy, Scope::Destination),
        (1, _) => return bounce(Class::Address, true),
        // 5.2.1 disabled, which a late bill does too; 5.2.2 full; 5.2.3 longer than this mailbox takes; 5.2.4 a mailing list in trouble.
        (2, _) => return bounce(Class::Mailbox, false),
        (3, 4) => return fail(Class::Message, Scope::Recipient),
        // No way to the recipient's domain.
        (4, _) => return bounce(Class::Address, false),
        (6, 7) => return bounce(Class::Address, false),
        (6, _) => return fail(Class::Message, Scope::Recipient),
        (7, _) => return Verdict { policy: true, ..fail(Class::Policy, Scope::Destination) },
        _ => {}
    }
    // 57x and 585 are unlisted spellings of 5.7.x; the words are what servers without enhanced codes say.
    if matches!(code, 570..=579 | 585) || text.says(&POLICY) {
        return Verdict { policy: true, ..fail(Class::Policy, Scope::Destination) };
    }
    match (stage, code) {
        (Stage::Recipient, 552) => bounce(Class::Mailbox, false),
        // 521, 556: the domain takes no mail (RFC 7504).
        (Stage::Recipient, 521 | 550 | 551 | 553 | 556) => bounce(Class::Address, true),
        (_, 552) => fail(Class::Message, Scope::Recipient),
        _ => fail(Class::Other, Scope::Recipient),
    }
}

const GREYLISTED: [&str; 6] = ["greylist", "graylist", "grey-list", "gray-list", "grey list", "gray list"];
const POLICY: [&str; 9] =
    ["spam", "blocklist", "blacklist", "block list", "black list", "listed at", "reputation", "unsolicited", "dmarc"];

/// Subject and detail of an enhanced code; zeros where there is none. The class is the basic code's matter.
#[derive(Clone, Copy)]
struct Status {
    subject: u16,
    detail: u16,
}

impl Status {
    fn parse(enhanced: Option<&str>) -> Self {
        let mut numbers = enhanced.unwrap_or_default().split('.').skip(1).map(|part| part.parse().unwrap_or(0));
        Self { subject: numbers.next().unwrap_or(0), detail: numbers.next().unwrap_or(0) }
    }
}

impl PartialEq<(u16, u16)> for Status {
    fn eq(&self, other: &(u16, u16)) -> bool {
        (self.subject, self.detail) == *other
    }
}

/// In lower case.
struct Text(String);

impl Text {
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.0.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Action::*, Class::*, Scope::*, *};

    /// The stage, a reply as it reads, and then action, class, scope, and of `hard throttles policy` what holds.
    const TABLE: &[(Stage, &str, Action, Class, Scope, &str)] = &[
        (Stage::Dot, "250 2.0.0 queued", Accept, Accepted, Recipient, ""),
        (Stage::Recipient, "421 4.7.0 slow down", Defer, Busy, Destination, "throttles"),
        (Stage::Dot, "450 4.3.0 later", Defer, Busy, Destination, "throttles"),
        (Stage::Recipient, "451 later", Defer, Busy, Destination, "throttles"),
        (Stage::Recipient, "452 4.3.2 too many messages", Defer, Busy, Destination, "throttles"),
        (Stage::Mail, "454 4.3.0 later", Defer, Busy, Destination, "throttles"),
        (Stage::Recipient, "498 later", Defer, Other, Destination, ""),
        (Stage::Recipient, "451 4.7.1 Greylisted, see our page", Defer, Greylisted, Recipient, ""),
        (Stage::Recipient, "450 Grey listing in action", Defer, Greylisted, Recipient, ""),
        (Stage::Recipient, "451 You have been grey-listed", Defer, Greylisted, Recipient, ""),
        (Stage::Recipient, "450 4.7.1 Please try again later", Defer, Greylisted, Recipient, ""),
        (Stage::Recipient, "451 4.3.0 Please try again later", Defer, Busy, Destination, "throttles"),
        (Stage::Recipient, "452 4.2.2 over quota", Defer, Mailbox, Recipient, ""),
        (Stage::Recipient, "452 Mailbox full", Defer, Mailbox, Recipient, ""),
        (Stage::Recipient, "450 4.2.1 receiving too quickly", Defer, Mailbox, Recipient, ""),
        (Stage::Recipient, "450 4.1.1 unverified address", Defer, Address, Recipient, ""),
        (Stage::Dot, "421 4.7.28 unusual rate of mail", Defer, Policy, Destination, "throttles policy"),
        (Stage::Mail, "421 4.7.0 [TSS04] temporarily deferred", Defer, Policy, Destination, "throttles policy"),
        (Stage::Recipient, "550 5.1.1 no such user", Bounce, Address, Recipient, "hard"),
        (Stage::Dot, "550 5.1.1 no such user", Bounce, Address, Recipient, "hard"),
        (Stage::Recipient, "556 5.1.10 null MX", Bounce, Address, Recipient, "hard"),
        (Stage::Recipient, "550 no such user", Bounce, Address, Recipient, "hard"),
        (Stage::Recipient, "551 user not local", Bounce, Address, Recipient, "hard"),
        (Stage::Recipient, "553 mailbox name not allowed", Bounce, Address, Recipient, "hard"),
        (Stage::Recipient, "550 5.2.1 account disabled", Bounce, Mailbox, Recipient, ""),
        (Stage::Recipient, "550 5.7.1 user unknown", Bounce, Address, Recipient, "hard"),
        (Stage::Dot, "554 5.0.0 The email account that you tried to reach does not exist", Bounce, Address, Recipient, "hard"),
        (Stage::Dot, "550 5.2.0 Unknown user", Bounce, Address, Recipient, ""),
        (Stage::Dot, "552 5.1.1 mailbox full", Bounce, Mailbox, Recipient, ""),
        (Stage::Recipient, "550 5.1.1 Client host blocked using zen.spamhaus.org", Fail, Policy, Destination, "policy"),
        (Stage::Recipient, "450 4.3.0 Mailbox full", Defer, Mailbox, Recipient, ""),
        (Stage::Mail, "550 unknown user ada@sender.test", Fail, Other, Recipient, ""),
        (Stage::Recipient, "552 5.2.2 over quota", Bounce, Mailbox, Recipient, ""),
        (Stage::Recipient, "550 5.4.4 no route to host", Bounce, Address, Recipient, ""),
        (Stage::Mail, "550 no", Fail, Other, Recipient, ""),
        (Stage::Mail, "553 5.1.8 sender's domain does not exist", Fail, Policy, Destination, ""),
        (Stage::Recipient, "550 5.7.1 rejected", Fail, Policy, Destination, "policy"),
        (Stage::Dot, "554 5.7.1 rejected", Fail, Policy, Destination, "policy"),
        (Stage::Dot, "550 5.7.515 access denied", Fail, Policy, Destination, "policy"),
        (Stage::Recipient, "571 delivery not authorized", Fail, Policy, Destination, "policy"),
        (Stage::Recipient, "585 no", Fail, Policy, Destination, "policy"),
        (Stage::Recipient, "550 listed at a Blocklist", Fail, Policy, Destination, "policy"),
        (Stage::Dot, "554 transaction failed", Fail, Other, Recipient, ""),
        (Stage::Mail, "552 5.3.4 message too big", Fail, Message, Recipient, ""),
        (Stage::Dot, "552 too much mail data", Fail, Message, Recipient, ""),
        (Stage::Recipient, "553 5.6.7 not without SMTPUTF8", Bounce, Address, Recipient, ""),
        (Stage::Recipient, "503 5.5.1 bad sequence", Defer, Protocol, Route, ""),
        (Stage::Dot, "354 go on", Defer, Protocol, Route, ""),
        (Stage::Mail, "530 5.7.0 must issue STARTTLS first", Defer, Credentials, Route, ""),
        (Stage::Mail, "550 5.7.10 encryption needed", Defer, Credentials, Route, ""),
        (Stage::Recipient, "554 5.7.1 <a@b.test>: Relay access denied", Defer, Credentials, Route, ""),
        (Stage::Auth, "535 5.7.8 bad credentials", Defer, Credentials, Route, ""),
        (Stage::Mail, "454 4.7.0 temporary authentication failure", Defer, Credentials, Route, ""),
        (Stage::Greeting, "554 5.7.1 go away", Defer, Connection, Route, ""),
        (Stage::Greeting, "421 too many connections", Defer, Connection, Route, ""),
        (Stage::Reuse, "421 4.4.2 idle for too long", Defer, Connection, Route, ""),
    ];

    fn judge(stage: Stage, reply: &str) -> Verdict {
        let (code, rest) = reply.split_once(' ').expect("a code");
        let (first, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let enhanced = first.split('.').count() == 3 && first.split('.').all(|part| part.parse::<u16>().is_ok());
        let (enhanced, text) = if enhanced { (Some(first), text) } else { (None, rest) };
        classify(stage, code.parse().expect("digits"), enhanced, text)
    }

    #[test]
    fn replies_mean_what_the_table_says() {
        for (stage, reply, action, class, scope, flags) in TABLE {
            let verdict = judge(*stage, reply);
            let found: Vec<_> = [("hard", verdict.hard), ("throttles", verdict.throttles), ("policy", verdict.policy)]
                .iter()
                .filter(|flag| flag.1)
                .map(|flag| flag.0)
                .collect();
            let found = (verdict.action, verdict.class, verdict.scope, found.join(" "));
            assert_eq!(found, (*action, *class, *scope, (*flags).to_owned()), "{stage}: {reply}");
        }
    }

    fn any_stage() -> impl Strategy<Value = Stage> {
        use Stage::*;
        proptest::sample::select(vec![Connect, Greeting, Hello, Tls, Auth, Reuse, Mail, Stage::Recipient, Data, Dot])
    }

    proptest! {
        #[test]
        fn any_reply_has_a_verdict_that_is_consistent(stage in any_stage(), code: u16, enhanced in proptest::option::of("\\PC{0,12}|[245]\\.[0-9]{1,3}\\.[0-9]{1,3}"), text in "\\PC{0,80}") {
            let verdict = classify(stage, code, enhanced.as_deref(), &text);
            prop_assert_eq!(verdict.action == Accept, (200..300).contains(&code), "only 2xx is acceptance");
            prop_assert!(!verdict.hard || verdict.action == Bounce, "only a bounce is hard");
            prop_assert!(!verdict.throttles || verdict.action == Defer, "what slows a destination comes back");
            prop_assert!((500..600).contains(&code) || matches!(verdict.action, Accept | Defer), "only 5xx is final");
            prop_assert!(verdict.scope != Route || verdict.action == Defer, "a route's fault is no recipient's");
        }
    }
}
