//! What strangers send us, and the code that reads it first: taken in by path, so that a target is built in seconds and without the servers'
//! dependencies. A file that no longer compiles here has begun to depend on more than its bytes.

pub mod deliveries;

#[path = "../../shared/src/bounces/mod.rs"]
pub mod bounces;

#[path = "../../worker/src/clients/smtp/reply.rs"]
#[expect(dead_code, reason = "the session uses more of it")]
mod reply;

/// Feeds a server's bytes to the parser of replies, in pieces as a network would, and judges what comes out.
pub fn smtp_reply(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let mut inbox = reply::Inbox::default();
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        inbox.space().extend_from_slice(piece);
        loop {
            match inbox.take() {
                Ok(Some(code)) => {
                    let reply = inbox.reply();
                    assert_eq!(code, reply.code);
                    assert!(reply.excerpt(300).len() <= 300);
                    let _ = deliveries::bounce_rules::judge(reply.enhanced.as_deref(), Some(code), &reply.text);
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// What must hold of every mail.
pub fn holds(notice: &bounces::Notice) {
    use bounces::Kind;
    assert!(notice.kind != Kind::Other || notice.recipients.is_empty());
    assert!(notice.kind == Kind::Other || notice.answered_for.is_none());
    assert!(notice.kind != Kind::Dsn || notice.feedback_type.is_none());
    for (index, one) in notice.recipients.iter().enumerate() {
        assert!(!one.recipient.is_empty(), "an empty recipient");
        assert!(!one.hard || one.action == "failed", "hard, and {}", one.action);
        assert!(!one.diagnostic.contains('\n'));
        let lower = one.recipient.to_lowercase();
        assert!(notice.recipients[..index].iter().all(|known| known.recipient.to_lowercase() != lower), "{lower} twice");
    }
}
