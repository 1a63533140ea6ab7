//! Mails about accounts, from the row to the wire.

use std::time::Duration;

use mail_parser::MessageParser;
use shared::{
    accounts::{
        level::Level,
        member::Actor,
        scope::Scope,
        user::{self, NewUser, Role},
    },
    members::{invitation, reset, verification},
    queue::lane::Lane,
    vault::Links,
};
use uuid::Uuid;

use crate::house::House;

async fn house() -> House {
    let mut house = House::new().await;
    house.stage.settings.mail.relay_url = format!("smtp://127.0.0.1:{}", house.sink.smtp.port()).into();
    house.stage.settings.mail.from = "post@example.com".to_owned();
    house.stage.settings.queue.retry_base_ms = 20;
    house
}

async fn member(house: &House, workspace_id: Uuid, email: &str) -> Uuid {
    let new = NewUser {
        workspace_id,
        email: email.to_owned(),
        name: "Ada".to_owned(),
        password_hash: String::new(),
        role: Role::Client,
        level: Level::Owner,
        email_verified_at: None,
    };
    let mut connection = house.stage.pool.acquire().await.expect("a connection");
    user::create(&mut connection, new).await.expect("a user")
}

/// Waits until no mail about an account is in line any more, and answers the states of their jobs.
async fn settled(house: &House) -> String {
    for _ in 0..1_200 {
        let open = "SELECT count(*) FROM jobs WHERE kind = 'SendAccountMail' AND finished_at IS NULL";
        if house.stage.number(open, Uuid::nil()).await == 0 {
            let states =
                "SELECT coalesce(string_agg(state || ' ' || coalesce(result->>'state', last_error, ''), ', ' ORDER BY id), '')
                          FROM jobs WHERE kind = 'SendAccountMail'";
            return house.stage.text(states, "").await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("not settled within a minute");
}

/// The token in the link of a mail.
fn token(mail: &str) -> String {
    let parsed = MessageParser::new().parse(mail.as_bytes()).expect("a mail");
    let text = parsed.body_text(0).expect("a text").into_owned();
    text.split("?token=").nth(1).expect("a link").split_whitespace().next().expect("a token").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_mail_goes_out_once_and_its_link_works() {
    let house = house().await;
    let (pool, settings, now) = (&house.stage.pool, &house.stage.settings, house.stage.clock.now());
    let links = Links::from_settings(settings).unwrap();
    let workspace_id = house.stage.workspace("Acme").await;
    let ada = member(&house, workspace_id, "ada@orchard.test").await;
    let actor = Actor { user_id: ada, scope: Scope::client(workspace_id) };
    invitation::invite(pool, &settings.mail, actor, "grace@harbor.test", Level::Editor, now).await.unwrap();
    verification::resend(pool, &settings.mail, ada, now).await.unwrap();
    reset::ask(pool, &settings.mail, "ada@orchard.test", now).await.unwrap();
    let worker = house.worker(&[(Lane::Critical, 2)]).await;
    assert_eq!(settled(&house).await, "succeeded accepted, succeeded accepted, succeeded accepted");

    let mails = house.sink.counts.messages(20);
    let found = |path: &str| {
        let mail = mails.iter().find(|mail| mail.contains(path)).unwrap_or_else(|| panic!("no mail with {path}: {mails:?}"));
        token(mail)
    };
    assert_eq!(invitation::look(pool, &links, &found("accept-invitation"), now).await.unwrap().email, "grace@harbor.test");
    assert_eq!(reset::look(pool, &links, &found("reset-password"), now).await.unwrap(), "ada@orchard.test");
    verification::verify(pool, &links, &settings.mail, &found("verify-email"), now).await.unwrap();
    assert!(settled(&house).await.ends_with("succeeded accepted"));
    worker.stop().await;
    let stats = house.sink.counts.stats();
    assert_eq!((stats.received, stats.duplicates, stats.protocol_errors), (4, 0, 0), "and a welcome");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_nobody_waits_for_does_not_go_out() {
    let house = house().await;
    let (pool, settings, now) = (&house.stage.pool, &house.stage.settings, house.stage.clock.now());
    let workspace_id = house.stage.workspace("Acme").await;
    member(&house, workspace_id, "ada@orchard.test").await;
    // No account; a newer link has taken its place.
    reset::ask(pool, &settings.mail, "nobody@orchard.test", now).await.unwrap();
    reset::ask(pool, &settings.mail, "ada@orchard.test", now).await.unwrap();
    reset::ask(pool, &settings.mail, "ada@orchard.test", now).await.unwrap();
    let worker = house.worker(&[(Lane::Critical, 1)]).await;
    assert_eq!(settled(&house).await, "succeeded not sent, succeeded not sent, succeeded accepted");
    worker.stop().await;
    assert_eq!(house.sink.counts.stats().received, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_that_is_put_off_goes_again_and_one_that_is_refused_does_not() {
    let house = house().await;
    let (pool, settings, now) = (&house.stage.pool, &house.stage.settings, house.stage.clock.now());
    let workspace_id = house.stage.workspace("Acme").await;
    for email in ["ada@greylist.test", "bob@bounce.test"] {
        member(&house, workspace_id, email).await;
        reset::ask(pool, &settings.mail, email, now).await.unwrap();
    }
    let worker = house.worker(&[(Lane::Critical, 1)]).await;
    let states = settled(&house).await;
    worker.stop().await;
    assert!(states.starts_with("succeeded accepted, failed the relay refused the mail"), "{states}");
    let stats = house.sink.counts.stats();
    assert_eq!((stats.received, stats.duplicates), (1, 0));
}
