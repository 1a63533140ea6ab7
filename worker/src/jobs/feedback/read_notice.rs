//! Reads one mail that came in.

use serde_json::json;
use shared::{
    database,
    feedback::{
        fact::{About, Fact, Source, What},
        mail::{self, InboundMail, Mailbox},
        notice,
        payload::ReadNotice,
        references, take,
    },
};

use super::taking::take_all;
use crate::run::{Context, Failure, Outcome, Run};

impl Run for ReadNotice {
    async fn run(self, context: &Context) -> Outcome {
        let Some(mail) = mail::find(&context.pool, self.inbound_mail_id).await? else {
            return Ok(json!({ "state": "gone" }));
        };
        if mail.state != "received" {
            return Ok(json!({ "state": mail.state }));
        }
        let (kind, facts) = facts(context, &mail).await?;
        let counts = take_all(context, &facts).await?;
        let mut transaction = database::begin(&context.pool).await?;
        mail::read(&mut transaction, mail.id, kind, counts.believed()).await?;
        transaction.commit().await?;
        metrics::counter!("inbound_notices_total", "kind" => kind).increment(1);
        Ok(json!({ "kind": kind, "facts": counts }))
    }
}

/// What the mail is, and what of it may be believed: its envelope names the mail that it is about, or a report holds a name of one.
async fn facts(context: &Context, mail: &InboundMail) -> Result<(&'static str, Vec<Fact>), Failure> {
    let links = &context.post.links;
    let fact = |about, source, what| Fact { about, source, what, received_at: mail.created_at };
    // A key may have been taken out since.
    let reports = context.settings.inbound.reports();
    let Some(mailbox) = Mailbox::read(links, &reports, &mail.recipient) else { return Ok(("other", Vec::new())) };
    if let Mailbox::Unsubscribe { campaign_id, contact_id } = mailbox {
        // Nobody unsubscribes by a bounce.
        let facts = match mail.sender.as_str() {
            "" => Vec::new(),
            _ => vec![fact(About::Delivery { campaign_id, contact_id }, Source::Mailto, What::Unsubscribe)],
        };
        return Ok(("unsubscribe", facts));
    }
    let notice = notice::read(&mail.raw);
    let source = if notice.kind == "arf" { Source::Arf } else { Source::Dsn };
    let about = match mailbox {
        Mailbox::ReturnPath(about) => Some(about),
        _ if notice.kind == "arf" => {
            let mut connection = context.pool.acquire().await?;
            take::believed(&mut connection, &references::in_mail(links, &mail.raw), None).await?
        }
        _ => None,
    };
    let fact = about.zip(notice.fact).map(|(about, what)| fact(about, source, what));
    Ok((notice.kind, fact.into_iter().collect()))
}
