//! DKIM signatures (RFC 6376, RFC 8463): one for each key of a domain, over one look at the message.

use mail_auth::{
    common::{
        crypto::{DkimKey, Ed25519Key, HashAlgorithm, RsaKey, SigningKey as _},
        headers::{Writable, Writer},
    },
    dkim::{Canonicalization, Signature},
};

use super::dkim_key::{Algorithm, SigningKey};
use crate::clock::Clock;

/// What a signature covers where it is present, in lower case: what the reader is shown, what a reply goes by, and what RFC 8058 and the
/// feedback loops of mailbox providers want covered.
const COVERED: [&str; 17] = [
    "from",
    "reply-to",
    "subject",
    "to",
    "cc",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "feedback-id",
    "auto-submitted",
];
/// Named once more than it is there, so that nobody can add another one (RFC 6376 section 8.15).
const OVERSIGNED: &str = "from";
/// Octets of a signature's header with a key of 2048 bits, rounded up.
const ROOM: usize = 1024;

/// Signs for one domain with all of its keys.
pub struct Signer {
    /// What is equal in all signatures of a key, and the key.
    keys: Vec<(Signature, DkimKey)>,
    clock: Clock,
}

impl Signer {
    /// Parses the keys, which costs more than a signature. `domain` is in A-labels.
    ///
    /// # Errors
    /// Which key cannot be used, by its selector; or there is none.
    pub fn new(domain: &str, keys: &[SigningKey], clock: Clock) -> Result<Self, String> {
        if keys.is_empty() {
            return Err(format!("{domain} has no key that signs"));
        }
        let keys = keys.iter().map(|key| {
            let parsed = parse(key).map_err(|reason| format!("the key {} of {domain} cannot be used: {reason}", key.selector))?;
            let template = Signature {
                v: 1,
                a: parsed.algorithm(),
                d: domain.to_owned(),
                s: key.selector.clone(),
                ch: Canonicalization::Relaxed,
                cb: Canonicalization::Relaxed,
                ..Signature::default()
            };
            Ok((template, parsed))
        });
        Ok(Self { keys: keys.collect::<Result<_, String>>()?, clock })
    }

    /// Appends a `DKIM-Signature` field for each key, that of the last key first, then the message, to `out`. The line ends of the message must be CRLF.
    ///
    /// # Errors
    /// The cipher failed; it has no reason to.
    pub fn sign(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let Covered { names, fields, body } = covered(message);
        let mut canonical = Vec::with_capacity(ROOM);
        Canonicalization::Relaxed.canonicalize_headers(fields.into_iter(), &mut canonical);
        let hash = HashAlgorithm::Sha256.hash(Canonicalization::Relaxed.canonical_body(body, u64::MAX));
        let now = u64::try_from(self.clock.now().timestamp()).unwrap_or(0);
        out.reserve(message.len() + ROOM * self.keys.len());
        // As if each were put in front of what is there: the last one stands first.
        for (template, key) in self.keys.iter().rev() {
            let mut signature = Signature { bh: hash.as_ref().to_vec(), h: names.clone(), t: now, ..template.clone() };
            signature.b = key.sign(Signed { canonical: &canonical, signature: &signature }).map_err(|error| error.to_string())?;
            signature.write(out, true);
        }
        out.extend_from_slice(message);
        Ok(())
    }
}

fn parse(key: &SigningKey) -> Result<DkimKey, String> {
    let parsed = match key.algorithm {
        Algorithm::Rsa => RsaKey::from_key_der(key.pkcs8.as_slice().try_into()?).map(DkimKey::Rsa),
        Algorithm::Ed25519 => Ed25519Key::from_pkcs8_maybe_unchecked_der(&key.pkcs8).map(DkimKey::Ed25519),
    };
    parsed.map_err(|error| error.to_string())
}

/// What a signature is made of: the fields in their canonical form, then the signature's own field without its value.
struct Signed<'a> {
    canonical: &'a [u8],
    signature: &'a Signature,
}

impl Writable for Signed<'_> {
    fn write(self, writer: &mut impl Writer) {
        writer.write(self.canonical);
        self.signature.write(writer, false);
    }
}

struct Covered<'a> {
    names: Vec<String>,
    fields: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
}

/// Of fields of one name the last one is covered first (RFC 6376 section 5.4.2): all are taken from the end.
fn covered(message: &[u8]) -> Covered<'_> {
    let mut fields = Vec::with_capacity(COVERED.len());
    let mut rest = message;
    while let Some((field, after)) = field(rest) {
        rest = after;
        let Some(colon) = memchr::memchr(b':', field) else { continue };
        let (name, value) = (&field[..colon], &field[colon + 1..]);
        if COVERED.iter().any(|covered| name.eq_ignore_ascii_case(covered.as_bytes())) {
            fields.push((name, value));
        }
    }
    fields.reverse();
    let mut names: Vec<String> = fields.iter().map(|(name, _)| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    names.push(OVERSIGNED.to_owned());
    Covered { names, fields, body: rest.strip_prefix(b"\r\n").unwrap_or(rest) }
}

/// The first field with its line ends, and what follows; none before the empty line and at the end.
fn field(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    if rest.is_empty() || rest.starts_with(b"\r\n") {
        return None;
    }
    let mut end = 0;
    loop {
        end += memchr::memchr(b'\n', &rest[end..]).map_or(rest.len() - end, |at| at + 1);
        if !matches!(rest.get(end), Some(b' ' | b'\t')) {
            return Some(rest.split_at(end));
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
        rsa::KeySize,
        signature::{Ed25519KeyPair, KeyPair, RsaKeyPair},
    };
    use base64::{Engine, engine::general_purpose::STANDARD};
    use mail_auth::{
        AuthenticatedMessage, DkimResult, MessageAuthenticator, Parameters, ResolverCache, Txt,
        common::{parse::TxtRecordParser, verify::DomainKey},
        hickory_resolver::config::{ResolverConfig, ResolverOpts},
    };
    use std::{borrow::Borrow, collections::HashMap, hash::Hash, sync::Arc, time::Instant};

    use super::*;

    const MESSAGE: &[u8] = b"Date: Mon, 5 Jan 2026 12:00:00 +0000\r\nFrom: Shop <news@shop.test>\r\nMIME-Version: 1.0\r\n\
        To: ada@example.com\r\nSubject: a\r\n  folded\t subject \r\nX-Own: 1\r\nMessage-ID: <1@shop.test>\r\n\
        List-Unsubscribe: <https://mail.test/u/1>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
        Feedback-ID: a:b:c:mochila\r\nList-Id: <1.lists.shop.test>\r\nReply-To: help@shop.test\r\n\
        Content-Type: text/plain\r\n\r\nhello  \r\n.dot\r\n\r\n\r\n";

    struct Keys {
        rsa: Vec<u8>,
        rsa_record: String,
        ed25519: Vec<u8>,
        ed25519_record: String,
    }

    fn keys() -> Keys {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let ed25519 = Ed25519KeyPair::generate().expect("a key");
        let der: PublicKeyX509Der<'_> = rsa.public_key().as_der().expect("its form");
        Keys {
            rsa_record: format!("v=DKIM1; k=rsa; p={}", STANDARD.encode(der.as_ref())),
            rsa: AsDer::<Pkcs8V1Der<'_>>::as_der(&rsa).expect("its form").as_ref().to_vec(),
            ed25519_record: format!("v=DKIM1; k=ed25519; p={}", STANDARD.encode(ed25519.public_key().as_ref())),
            ed25519: ed25519.to_pkcs8().expect("its form").as_ref().to_vec(),
        }
    }

    fn signer(keys: &Keys) -> Signer {
        let keys = [
            SigningKey { selector: "e1".to_owned(), algorithm: Algorithm::Ed25519, pkcs8: keys.ed25519.clone() },
            SigningKey { selector: "r1".to_owned(), algorithm: Algorithm::Rsa, pkcs8: keys.rsa.clone() },
        ];
        Signer::new("shop.test", &keys, Clock::fixed("2026-01-05T12:00:00Z".parse().expect("a date"))).expect("a signer")
    }

    fn signed(signer: &Signer, message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        signer.sign(message, &mut out).expect("signed");
        out
    }

    fn signature(message: &[u8], number: usize) -> String {
        let text = String::from_utf8_lossy(message).replace("\r\n\t", "");
        text.lines().nth(number).expect("a line").to_owned()
    }

    #[test]
    fn a_signature_says_what_it_covers_and_when_it_was_made() {
        let out = signed(&signer(&keys()), MESSAGE);
        assert!(out.ends_with(MESSAGE));
        let (rsa, ed25519) = (signature(&out, 0), signature(&out, 1));
        let start = |text: &str| text.split_once(" bh=").expect("a hash").0.to_owned();
        assert_eq!(
            start(&rsa),
            "DKIM-Signature: v=1; a=rsa-sha256; s=r1; d=shop.test; c=relaxed/relaxed;\
             h=content-type:reply-to:list-id:feedback-id:list-unsubscribe-post:list-unsubscribe:message-id:subject:to:mime-version:from:date:from;t=1767614400;"
        );
        assert!(start(&ed25519).starts_with("DKIM-Signature: v=1; a=ed25519-sha256; s=e1; d=shop.test; c=relaxed/relaxed;"));
        assert!(!rsa.contains("; l=") && !ed25519.contains("; l="));
        let longest = out.split(|octet| *octet == b'\n').map(<[u8]>::len).max();
        assert!(longest < Some(80), "{longest:?}");
        assert!(out.is_ascii());
    }

    /// What DNS would answer.
    struct Records(HashMap<Box<str>, Txt>);

    impl ResolverCache<Box<str>, Txt> for Records {
        fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<Txt>
        where
            Box<str>: Borrow<Q>,
        {
            self.0.get(name).cloned()
        }

        fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<Txt>
        where
            Box<str>: Borrow<Q>,
        {
            None
        }

        fn insert(&self, _: Box<str>, _: Txt, _: Instant) {}
    }

    async fn passes(keys: &Keys, message: &[u8]) -> Vec<bool> {
        let record = |text: &str| Txt::DomainKey(Arc::new(DomainKey::parse(text.as_bytes()).expect("a record")));
        let records = Records(HashMap::from([
            ("r1._domainkey.shop.test.".into(), record(&keys.rsa_record)),
            ("e1._domainkey.shop.test.".into(), record(&keys.ed25519_record)),
        ]));
        let authenticator = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).expect("no look-ups");
        let parsed = AuthenticatedMessage::parse(message).expect("a mail");
        let verified = authenticator.verify_dkim(Parameters::new(&parsed).with_txt_cache(&records)).await;
        verified.iter().map(|output| *output.result() == DkimResult::Pass).collect()
    }

    #[tokio::test]
    async fn both_signatures_hold_until_what_they_cover_is_changed() {
        let keys = keys();
        let signer = signer(&keys);
        let endings = ["\r\n", "", "\r\n\r\n", "x", " \t\r\n", "x \t y  \r\n\r\n.\r\n \r\n\r\n"];
        for message in endings.map(|end| [MESSAGE, end.as_bytes()].concat()) {
            let out = signed(&signer, &message);
            assert_eq!(passes(&keys, &out).await, [true, true], "{}", String::from_utf8_lossy(&message));
        }
        let out = String::from_utf8(signed(&signer, MESSAGE)).expect("ASCII");
        for (was, is, holds) in [
            ("hello", "hallo", false),
            ("From: Shop", "From: Shopp", false),
            ("Date: ", "From: eve@evil.test\r\nDate: ", false),
            ("/u/1", "/u/2", false),
            ("One-Click", "Two-Clicks", false),
            ("a:b:c:mochila", "a:b:c:other", false),
            ("X-Own: 1", "X-Own: 2", true),
            ("folded\t subject", "folded subject", true),
        ] {
            assert_eq!(passes(&keys, out.replace(was, is).as_bytes()).await, [holds, holds], "{was:?} became {is:?}");
        }
    }

    #[test]
    fn a_key_that_cannot_be_used_is_named() {
        let key = SigningKey { selector: "r1".to_owned(), algorithm: Algorithm::Rsa, pkcs8: b"no key".to_vec() };
        let error = Signer::new("shop.test", &[key], Clock::system()).err().expect("refused");
        assert!(error.starts_with("the key r1 of shop.test cannot be used: "), "{error}");
        assert_eq!(Signer::new("shop.test", &[], Clock::system()).err().as_deref(), Some("shop.test has no key that signs"));
    }

    #[test]
    fn fields_end_where_the_body_begins_however_the_message_ends() {
        let names = |message: &str| covered(message.as_bytes()).names.join(":");
        assert_eq!(names("From: a\r\n\r\nTo: b\r\n"), "from:from");
        assert_eq!(names("From: a\r\nTo: b"), "to:from:from");
        assert_eq!(names("To: a\r\n b\r\nno colon\r\nTo: c\r\n"), "to:to:from");
        assert_eq!(names(""), "from");
        assert_eq!(covered(b"From: a\r\n\r\n\r\nx").body, b"\r\nx");
    }
}
