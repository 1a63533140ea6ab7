//! Messages to one person, from the row to the wire.

use std::{sync::atomic::Ordering, time::Duration};

use mail_parser::{MessageParser, MimeHeaders};
use mochila_bench::sink::Sink;
use mochila_worker::process::Process;
use serde_json::{Map, json};
use shared::{
    accounts::scope::Scope,
    messages::{
        attachment::Given,
        draft::{Draft, Mailbox},
        message::{self, Message, State},
        render::Source,
    },
    queue::lane::Lane,
};
use uuid::Uuid;

use crate::{
    house::House,
    relay::{Breaks, BrokenRelay},
};

struct Office {
    house: House,
    scope: Scope,
}

impl Office {
    async fn new() -> Self {
        let mut house = House::new().await;
        house.stage.settings.sending.transactional.retry.first_seconds = 0.2;
        let workspace_id = house.stage.workspace("Acme").await;
        house.stage.verified_domain(workspace_id, "shop.test").await;
        Self { house, scope: Scope::client(workspace_id) }
    }

    async fn worker(&self) -> Process {
        self.house.worker(&[(Lane::Critical, 4)]).await
    }

    fn draft(to: &str) -> Draft {
        let mailbox = |name: &str, email: &str| Mailbox { name: name.to_owned(), email: email.to_owned() };
        Draft {
            from: mailbox("The Shop", "orders@shop.test"),
            to: mailbox("Ann", to),
            content: Some(Source { subject: "Order 66".to_owned(), html: Some("<p>Order 66</p>".to_owned()), text: None }),
            ..Draft::default()
        }
    }

    async fn post(&self, draft: Draft) -> Message {
        let scope = self.scope;
        let expire_seconds = self.house.stage.settings.sending.transactional.retry.expire_seconds;
        self.house.change(move |connection| Box::pin(message::create(connection, scope, draft, expire_seconds))).await
    }

    async fn find(&self, id: Uuid) -> Message {
        message::read(&self.house.stage.pool, id).await.expect("an answer").expect("a message")
    }

    async fn until(&self, id: Uuid, state: State) -> Message {
        for _ in 0..1_200 {
            let message = self.find(id).await;
            if message.state == state {
                return message;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("not {} within a minute: {:?}", state.name(), self.find(id).await);
    }

    async fn events(&self, id: Uuid) -> String {
        let events = shared::messages::event::of(&self.house.stage.pool, id).await.expect("events");
        let told = |event: &shared::messages::event::Event| match &event.reason {
            Some(reason) => format!("{} ({reason})", event.kind),
            None => event.kind.clone(),
        };
        events.iter().map(told).collect::<Vec<_>>().join(", ")
    }

    fn sink(&self) -> &Sink {
        &self.house.sink
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_arrives_with_its_files_pictures_fields_and_one_message_id() {
    let office = Office::new().await;
    let file = |name: &str, kind: &str, content: &str, id: Option<&str>| Given {
        filename: name.to_owned(),
        content_type: kind.to_owned(),
        content: content.to_owned(),
        content_id: id.map(str::to_owned),
    };
    let octets: Vec<u8> = (0..=255).cycle().take(1_000).collect();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &octets);
    let draft = Draft {
        reply_to: Some(Mailbox { name: String::new(), email: "help@shop.test".to_owned() }),
        content: Some(Source {
            subject: "Bestellung {{ n }} für {{ name }}".to_owned(),
            html: Some("<img src=\"cid:logo@shop.test\"><p>{{ name }}</p>".to_owned()),
            text: None,
        }),
        data: Some(Map::from_iter([("n".to_owned(), json!(66)), ("name".to_owned(), json!("Zoë"))])),
        attachments: vec![
            file("Rechnung für Zoë – ein sehr langer Name, der in keine Zeile passt, 2026.pdf", "application/pdf", &encoded, None),
            file("logo.png", "image/png", "iVBORw0KGgo=", Some("logo@shop.test")),
        ],
        headers: [("X-Order".to_owned(), "66".to_owned()), ("References".to_owned(), "<a@shop.test> <b@shop.test>".to_owned())]
            .into(),
        ..Office::draft("ann@orchard.test")
    };
    let id = office.post(draft).await.id;
    let worker = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    worker.stop().await;
    assert_eq!((message.attempts, message.smtp_code), (1, Some(250)));
    assert_eq!(office.events(id).await, "queued, sending, accepted");
    let stats = office.sink().counts.stats();
    assert_eq!((stats.received, stats.protocol_errors), (1, 0));

    let bytes = office.sink().counts.messages(1).remove(0);
    let mail = MessageParser::new().parse(bytes.as_bytes()).expect("a mail");
    assert_eq!(mail.subject(), Some("Bestellung 66 für Zoë"));
    assert_eq!(format!("<{}>", mail.message_id().expect("an id")), message.message_id());
    assert_eq!(mail.header_raw("X-Order").map(str::trim), Some("66"));
    assert_eq!(mail.header_raw("References").map(str::trim), Some("<a@shop.test> <b@shop.test>"));
    assert_eq!(mail.reply_to().and_then(|to| to.first()).and_then(|to| to.address()), Some("help@shop.test"));
    assert!(mail.body_html(0).expect("HTML").contains("Zoë") && mail.body_text(0).expect("a text").contains("Zoë"));
    let files: Vec<_> = mail.attachments().collect();
    let found = |name: &str| files.iter().find(|file| file.attachment_name().is_some_and(|own| own.starts_with(name))).expect(name);
    assert_eq!(
        found("Rechnung").attachment_name(),
        Some("Rechnung für Zoë – ein sehr langer Name, der in keine Zeile passt, 2026.pdf")
    );
    assert_eq!(found("Rechnung").contents(), octets);
    assert_eq!(found("logo").content_id(), Some("logo@shop.test"));
    assert!(bytes.lines().all(|line| line.len() <= 78), "{bytes}");
    let kept = "SELECT count(*) FROM message_attachments WHERE message_id = $1 AND content IS NOT NULL";
    assert_eq!(office.house.stage.number(kept, id).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_deferred_and_accepted_or_refused_for_good() {
    let office = Office::new().await;
    let greylisted = office.post(Office::draft("ann@greylist.test")).await.id;
    let bounced = office.post(Office::draft("bob@bounce.test")).await.id;
    let rejected = office.post(Office::draft("cid@reject.test")).await.id;
    let worker = office.worker().await;
    let message = office.until(greylisted, State::Accepted).await;
    assert_eq!(message.attempts, 2);
    assert_eq!(office.events(greylisted).await, "queued, sending, deferred (greylisted), sending, accepted");
    let message = office.until(bounced, State::Bounced).await;
    assert_eq!(
        (message.smtp_code, message.enhanced_code.as_deref(), message.reason.as_deref()),
        (Some(550), Some("5.1.1"), Some("address"))
    );
    office.until(rejected, State::Failed).await;
    worker.stop().await;
    assert_eq!(
        office
            .house
            .stage
            .number("SELECT count(*) FROM jobs WHERE kind = 'SendMessage' AND state <> 'succeeded'", Uuid::nil())
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_reply_to_the_dot_sends_it_again_with_the_same_message_id() {
    let mut office = Office::new().await;
    office.house.stage.settings.sending.timeouts.final_dot = 1;
    let id = office.post(Office::draft("ann@mute.test")).await.id;
    let worker = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    worker.stop().await;
    assert_eq!(message.attempts, 2);
    assert_eq!(office.events(id).await, "queued, sending, deferred (no reply), sending, accepted");
    let stats = office.sink().counts.stats();
    assert_eq!((stats.received, stats.unique_message_ids), (2, 1), "twice, and a receiver can tell");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_worker_left_in_flight_goes_again_with_the_same_message_id() {
    let office = Office::new().await;
    let id = office.post(Office::draft("ann@orchard.test")).await.id;
    // As if a worker had died between the admission and the outcome, and its lease had run out.
    office
        .house
        .stage
        .arrange(format!(
            "UPDATE messages SET state = 'sending', attempts = 1, attempt_id = 7, first_attempt_at = now(), last_attempt_at = now() WHERE id = '{id}';
             UPDATE jobs SET state = 'running', lease_owner = uuid_v7(), lease_until = now() - interval '1 minute', lease_epoch = 1,
                 deliveries = 1, started_at = now() WHERE kind = 'SendMessage'"
        ))
        .await;
    let worker = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    worker.stop().await;
    assert_eq!(message.attempts, 2);
    let mail = office.sink().counts.messages(1).remove(0);
    assert!(mail.contains(&format!("Message-ID: {}", message.message_id())), "{mail}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outcome_that_the_database_refuses_is_kept_until_it_takes_it_and_nothing_is_sent_twice() {
    let office = Office::new().await;
    // A sequence keeps count of what is rolled back.
    office
        .house
        .stage
        .execute(
            "CREATE SEQUENCE refusals;
             CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN IF nextval('refusals') <= 3 THEN RAISE EXCEPTION 'not now' USING ERRCODE = '57014'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER refuse BEFORE UPDATE ON messages FOR EACH ROW WHEN (NEW.state = 'accepted') EXECUTE FUNCTION refuse()",
        )
        .await;
    let id = office.post(Office::draft("ann@orchard.test")).await.id;
    let worker = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    worker.stop().await;
    assert_eq!(office.house.stage.number("SELECT last_value FROM refusals", id).await, 4, "refused three times, then recorded");
    assert_eq!((message.attempts, office.sink().counts.stats().received), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_cut_off_in_the_middle_leaves_the_message_to_the_next_one() {
    let mut office = Office::new().await;
    office.house.stage.settings.worker.drain_seconds = 1;
    let id = office.post(Office::draft("ann@tarpit.test")).await.id;
    let first = office.worker().await;
    office.until(id, State::Sending).await;
    while office.sink().counts.connections_open.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    first.stop().await;
    assert_eq!(office.find(id).await.state, State::Sending, "nobody knows");
    office.sink().settings.tarpit_ms.store(0, Ordering::Relaxed);
    let second = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    second.stop().await;
    assert_eq!(message.attempts, 2);
    let stats = office.sink().counts.stats();
    assert_eq!(stats.unique_message_ids, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounces_and_complaints_are_minded_and_unsubscribing_from_campaigns_is_not() {
    let office = Office::new().await;
    for (value, kind, reason) in [
        ("bob@orchard.test", "address", "bounce"),
        ("gone.test", "domain", "manual"),
        ("cid@orchard.test", "address", "unsubscribe"),
    ] {
        office
            .house
            .stage
            .arrange(format!(
                "INSERT INTO suppressions (id, workspace_id, kind, value, reason)
                 VALUES (uuid_v7(), '{}', '{kind}', '{value}', '{reason}')",
                office.scope.workspace_id
            ))
            .await;
    }
    let mut ids = Vec::new();
    for to in ["bob@orchard.test", "any@gone.test", "cid@orchard.test"] {
        ids.push(office.post(Office::draft(to)).await.id);
    }
    let worker = office.worker().await;
    office.until(ids[0], State::Suppressed).await;
    office.until(ids[1], State::Suppressed).await;
    office.until(ids[2], State::Accepted).await;
    worker.stop().await;
    assert_eq!(office.events(ids[0]).await, "queued, suppressed (suppressed)");
    assert_eq!(office.sink().counts.stats().received, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_cancelled_expired_or_lost_its_domain_or_its_job_is_not_sent() {
    let office = Office::new().await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(office.post(Office::draft(&format!("ann{n}@orchard.test"))).await.id);
    }
    let scope = office.scope;
    let cancelled = ids[0];
    office.house.change(move |connection| Box::pin(message::cancel(connection, scope, cancelled))).await;
    office.house.stage.arrange(format!("UPDATE messages SET expires_at = now() WHERE id = '{}'", ids[1])).await;
    office
        .house
        .stage
        .arrange(format!(
            "UPDATE jobs SET state = 'dead', finished_at = now() WHERE id = (SELECT job_id FROM messages WHERE id = '{}')",
            ids[2]
        ))
        .await;
    let worker = office.worker().await;
    assert_eq!(office.until(ids[1], State::Failed).await.reason.as_deref(), Some("expired"));
    assert_eq!(office.until(ids[2], State::Failed).await.reason.as_deref(), Some("internal"));
    worker.stop().await;
    let last = office.post(Office::draft("zoe@orchard.test")).await.id;
    office.house.stage.execute("UPDATE sending_domains SET state = 'failed'").await;
    let worker = office.worker().await;
    assert_eq!(office.until(last, State::Failed).await.reason.as_deref(), Some("sending domain"));
    worker.stop().await;
    assert_eq!(office.find(cancelled).await.state, State::Cancelled);
    assert_eq!(office.sink().counts.stats().received, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_breaks_before_the_dot_is_left_for_another_at_once() {
    let office = Office::new().await;
    let broken = BrokenRelay::start(Breaks::AtData).await;
    let broken_route = office.house.stage.route(broken.port).await;
    office
        .house
        .stage
        .execute("UPDATE routes SET weight = CASE WHEN id = (SELECT max(id::text)::uuid FROM routes) THEN 9 ELSE 1 END")
        .await;
    let dead_route = office.house.stage.route(1).await;
    office.house.stage.arrange(format!("UPDATE routes SET weight = 99 WHERE id = '{dead_route}'")).await;
    let id = office.post(Office::draft("ann@orchard.test")).await.id;
    let worker = office.worker().await;
    let message = office.until(id, State::Accepted).await;
    worker.stop().await;
    assert_eq!(message.attempts, 1, "nobody was put off");
    assert!(message.route_id.is_some_and(|id| id != broken_route && id != dead_route));
    assert!(broken.connections.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_does_not_wait_for_a_campaign_that_has_every_connection_and_every_token() {
    let mut office = Office::new().await;
    // The campaign has all connections of the process, all but one of the route, and the whole rate.
    office.house.stage.settings.sending.connections = 4;
    office.house.stage.execute("UPDATE routes SET max_connections = 4, rate_per_second = 20").await;
    office.sink().settings.delay_ms.store(200, Ordering::Relaxed);
    let campaign = office.house.stage.campaign(&[("harbor.test", 400)]).await.campaign_id;
    let worker = office.house.worker(&[(Lane::Bulk, 2), (Lane::Critical, 2)]).await;
    while office.sink().counts.stats().received < 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(office.post(Office::draft(&format!("ann{n}@orchard.test"))).await.id);
    }
    for id in ids {
        assert_eq!(office.until(id, State::Accepted).await.attempts, 1);
    }
    let tally = office.house.tally(campaign).await;
    assert!(tally.accepted < 400, "the campaign is still on its way: {tally:?}");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_destination_does_not_take_the_slots_of_others() {
    let mut office = Office::new().await;
    office.house.stage.settings.sending.transactional.destination_messages = 2;
    office.house.stage.settings.worker.drain_seconds = 1;
    for n in 0..12 {
        office.post(Office::draft(&format!("ann{n}@tarpit.test"))).await;
    }
    let worker = office.worker().await;
    let id = office.post(Office::draft("bob@orchard.test")).await.id;
    office.until(id, State::Accepted).await;
    let flying = "SELECT count(*) FROM messages WHERE domain = 'tarpit.test' AND state = 'sending'";
    assert!(office.house.stage.number(flying, Uuid::nil()).await <= 2);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_destination_is_minded_and_holds_no_other_up() {
    let office = Office::new().await;
    office
        .house
        .stage
        .execute("INSERT INTO destinations (domain, suspended_until) VALUES ('orchard.test', now() + interval '1 hour')")
        .await;
    let held = office.post(Office::draft("ann@orchard.test")).await.id;
    let free = office.post(Office::draft("ann@harbor.test")).await.id;
    let worker = office.worker().await;
    office.until(free, State::Accepted).await;
    assert_eq!(office.find(held).await.state, State::Queued);
    office.house.stage.execute("UPDATE destinations SET suspended_until = NULL").await;
    office.until(held, State::Accepted).await;
    worker.stop().await;
}
