//! Facts that come back: twice, at once, late, and in the wrong order.

use shared::{
    campaigns::{finish, progress},
    database,
    deliveries::{
        ledger::{self, Outcome, State},
        tally::{self, Tally},
    },
    feedback::{
        complaints, event,
        fact::{About, Bounce, Fact, Source, What},
        refusals,
        take::{Taken, take},
    },
    suppressions::{policy::Policy, suppression},
    testing::{Fixture, Stage},
};
use uuid::Uuid;

/// A campaign of some recipients of orchard.test whose deliveries stand in these states, as a worker would have left them.
struct House {
    stage: Stage,
    fixture: Fixture,
    contacts: Vec<Uuid>,
}

async fn house(states: &[&str]) -> House {
    let stage = Stage::new().await;
    let fixture = stage.campaign(&[("orchard.test", i32::try_from(states.len()).unwrap())]).await;
    let contacts: Vec<Uuid> = sqlx::query_scalar("SELECT id FROM contacts WHERE workspace_id = $1 ORDER BY id")
        .bind(fixture.workspace_id)
        .fetch_all(&stage.pool)
        .await
        .unwrap();
    let house = House { stage, fixture, contacts };
    house.deliver(house.fixture.campaign_id, states).await;
    house
}

impl House {
    async fn deliver(&self, campaign_id: Uuid, states: &[&str]) {
        for (contact_id, state) in self.contacts.iter().zip(states) {
            sqlx::query(
                "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, attempts, recipient, domain,
                                         first_attempt_at, last_attempt_at)
                 SELECT $1, id, uuid_v7(), 1, 7, $3, 1, email, domain, clock_timestamp(), clock_timestamp() FROM contacts WHERE id = $2",
            )
            .bind(campaign_id)
            .bind(contact_id)
            .bind(state)
            .execute(&self.stage.pool)
            .await
            .unwrap();
        }
        self.stage
            .arrange(format!(
                "UPDATE campaigns SET audience = {0}, launch_counted = {0}, launched_at = now() - interval '1 minute' WHERE id = '{campaign_id}';
                 UPDATE jobs SET state = 'succeeded', finished_at = now() WHERE state = 'queued'",
                states.len()
            ))
            .await;
    }

    /// Another campaign of the workspace to the same contacts, each of which stands in this state.
    async fn another(&self, state: &str) -> Uuid {
        let id = Uuid::now_v7();
        self.stage
            .arrange(format!(
                "INSERT INTO campaigns (id, workspace_id, name, subject, from_email, html, list_ids, state)
                 SELECT '{id}', workspace_id, name, subject, from_email, html, list_ids, 'sending' FROM campaigns WHERE id = '{}'",
                self.fixture.campaign_id
            ))
            .await;
        self.deliver(id, &vec![state; self.contacts.len()]).await;
        id
    }

    fn about(&self, index: usize) -> About {
        About::Delivery { campaign_id: self.fixture.campaign_id, contact_id: self.contacts[index] }
    }

    fn fact(&self, index: usize, what: What) -> Fact {
        Fact { about: self.about(index), source: Source::Dsn, what, received_at: self.stage.clock.now() }
    }

    async fn tell(&self, fact: &Fact) -> Taken {
        let mut transaction = database::begin(&self.stage.pool).await.unwrap();
        let taken = take(&mut transaction, fact).await.unwrap();
        transaction.commit().await.unwrap();
        taken
    }

    async fn tally(&self) -> Tally {
        let tally = tally::count(&self.stage.pool, self.fixture.campaign_id).await.unwrap();
        assert_eq!(Some(tally.sum()), tally.audience);
        tally
    }

    async fn complained(&self) -> i64 {
        progress::counted(&self.stage.pool, self.fixture.campaign_id).await.unwrap().unwrap().1.complained
    }

    /// Reasons of the suppressions, and whether they are for good.
    async fn suppressed(&self) -> Vec<(String, bool)> {
        sqlx::query_as("SELECT reason, expires_at IS NULL FROM suppressions ORDER BY value")
            .fetch_all(&self.stage.pool)
            .await
            .unwrap()
    }

    async fn campaign_state(&self) -> String {
        self.stage.text("SELECT state FROM campaigns WHERE id = $1::uuid", &self.fixture.campaign_id.to_string()).await
    }
}

fn hard() -> What {
    What::Bounce(Bounce {
        class: "invalid_recipient".to_owned(),
        hard: true,
        smtp_code: Some(550),
        status: Some("5.1.1".to_owned()),
        diagnostic: Some("550 5.1.1 no such user".to_owned()),
    })
}

fn soft(class: &str) -> What {
    What::Bounce(Bounce { class: class.to_owned(), status: Some("5.2.2".to_owned()), ..Bounce::default() })
}

fn complaint() -> What {
    What::Complaint("abuse".to_owned())
}

#[tokio::test]
async fn a_hard_bounce_moves_the_delivery_and_suppresses_the_address_however_often_it_is_told() {
    let house = house(&["accepted", "accepted"]).await;
    let fact = house.fact(0, hard());
    assert_eq!(house.tell(&fact).await, Taken::New);
    let elsewhere = Fact { source: Source::Ses, ..fact.clone() };
    assert_eq!((house.tell(&fact).await, house.tell(&elsewhere).await), (Taken::Again, Taken::Again));
    let tally = house.tally().await;
    assert_eq!((tally.accepted, tally.bounced), (1, 1));
    assert_eq!(house.suppressed().await, [("bounce".to_owned(), true)]);
    let events = event::about(&house.stage.pool, house.about(0)).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].hard, events[0].status.as_deref()), (true, Some("5.1.1")));
}

#[tokio::test]
async fn two_workers_that_take_the_same_notice_at_once_take_it_once() {
    let house = house(&["accepted"]).await;
    let fact = house.fact(0, complaint());
    let mut first = database::begin(&house.stage.pool).await.unwrap();
    assert_eq!(take(&mut first, &fact).await.unwrap(), Taken::New);
    let second = tokio::spawn({
        let (pool, fact) = (house.stage.pool.clone(), fact.clone());
        async move {
            let mut second = database::begin(&pool).await.unwrap();
            let taken = take(&mut second, &fact).await.unwrap();
            second.commit().await.unwrap();
            taken
        }
    });
    // The second one waits for the first one's key.
    while house
        .stage
        .number(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
            Uuid::nil(),
        )
        .await
        == 0
    {
        tokio::task::yield_now().await;
    }
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), Taken::Again);
    assert_eq!(house.complained().await, 1);
}

#[tokio::test]
async fn a_notice_whose_transaction_died_is_taken_when_it_comes_again() {
    let house = house(&["accepted"]).await;
    let fact = house.fact(0, hard());
    let mut transaction = database::begin(&house.stage.pool).await.unwrap();
    assert_eq!(take(&mut transaction, &fact).await.unwrap(), Taken::New);
    transaction.rollback().await.unwrap();
    assert_eq!((house.tally().await.accepted, house.suppressed().await.len()), (1, 0));
    assert_eq!(house.tell(&fact).await, Taken::New);
}

#[tokio::test]
async fn a_complaint_marks_the_delivery_unsubscribes_and_suppresses_and_a_bounce_after_it_changes_nothing() {
    let house = house(&["accepted", "accepted"]).await;
    assert_eq!(house.tell(&house.fact(0, complaint())).await, Taken::New);
    assert_eq!(house.tell(&house.fact(0, hard())).await, Taken::New, "it is remembered");
    assert_eq!((house.tally().await.accepted, house.tally().await.bounced), (2, 0), "never back");
    assert_eq!(house.complained().await, 1);
    assert_eq!(house.suppressed().await, [("complaint".to_owned(), true)]);
    let state = house.stage.text("SELECT state FROM contacts WHERE id = $1::uuid", &house.contacts[0].to_string()).await;
    assert_eq!(state, "unsubscribed");
    assert_eq!(house.tell(&house.fact(1, hard())).await, Taken::New);
    assert_eq!(house.tell(&house.fact(1, complaint())).await, Taken::New);
    assert_eq!((house.tally().await.bounced, house.complained().await), (1, 2), "bounced, then complained");
}

#[tokio::test]
async fn a_delay_is_remembered_and_changes_nothing() {
    let house = house(&["accepted"]).await;
    let fact =
        house.fact(0, What::Delay(Bounce { class: "transient".to_owned(), status: Some("4.4.1".to_owned()), ..Bounce::default() }));
    assert_eq!((house.tell(&fact).await, house.tell(&fact).await), (Taken::New, Taken::Again));
    assert_eq!((house.tally().await.accepted, house.suppressed().await.len()), (1, 0));
}

#[tokio::test]
async fn a_fact_settles_what_was_in_doubt_and_a_finished_campaign_is_counted_anew() {
    let house = house(&["unknown", "accepted"]).await;
    assert_eq!(finish::all(&house.stage.pool, 20).await.unwrap(), [house.fixture.campaign_id]);
    assert_eq!(house.campaign_state().await, "finished_with_failures");
    house.tell(&house.fact(1, hard())).await;
    assert_eq!(house.campaign_state().await, "finished_with_failures", "nobody's doubt has changed");
    house.tell(&house.fact(0, hard())).await;
    assert_eq!(house.campaign_state().await, "sending");
    finish::all(&house.stage.pool, 20).await.unwrap();
    assert_eq!((house.campaign_state().await.as_str(), house.tally().await.bounced), ("finished", 2));
}

#[tokio::test]
async fn a_bounce_overtakes_the_outcome_of_its_own_attempt_and_the_outcome_does_not_take_it_back() {
    let house = house(&["sending", "deferred"]).await;
    house.tell(&house.fact(0, hard())).await;
    house.tell(&house.fact(1, soft("quota"))).await;
    let outcome = Outcome {
        campaign_id: house.fixture.campaign_id,
        contact_id: house.contacts[0],
        attempt_id: 7,
        route_id: Uuid::nil(),
        state: State::Accepted,
        released: false,
        smtp_code: Some(250),
        enhanced_code: None,
        response: None,
        reason: None,
        delay_seconds: 0.0,
    };
    let mut connection = house.stage.pool.acquire().await.unwrap();
    assert_eq!(ledger::record(&mut connection, &[outcome]).await.unwrap(), 0);
    assert_eq!(house.tally().await.bounced, 2);
}

#[tokio::test]
async fn what_was_never_sent_here_is_not_believed() {
    let house = house(&["accepted", "suppressed"]).await;
    house.stage.execute("UPDATE deliveries SET attempts = 0 WHERE state = 'suppressed'").await;
    let strange = [
        About::Delivery { campaign_id: house.fixture.campaign_id, contact_id: Uuid::now_v7() },
        About::Delivery { campaign_id: Uuid::now_v7(), contact_id: house.contacts[0] },
        house.about(1),
        About::Message { message_id: Uuid::now_v7() },
    ];
    for about in strange {
        assert_eq!(house.tell(&Fact { about, ..house.fact(0, complaint()) }).await, Taken::Unknown, "{about:?}");
    }
    assert_eq!(house.stage.number("SELECT count(*) FROM feedback_events", Uuid::nil()).await, 0);
}

#[tokio::test]
async fn soft_bounces_in_a_row_suppress_for_a_time_and_an_accepted_mail_in_between_begins_anew() {
    let house = house(&["accepted"]).await;
    let bounce = async || {
        let campaign_id = house.another("accepted").await;
        let about = About::Delivery { campaign_id, contact_id: house.contacts[0] };
        // The ledger's times are of the database's clock.
        let received_at = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(&house.stage.pool).await.unwrap();
        assert_eq!(house.tell(&Fact { about, received_at, ..house.fact(0, soft("quota")) }).await, Taken::New);
    };
    for _ in 0..4 {
        bounce().await;
    }
    // Of a class that says nothing about the address.
    house.tell(&house.fact(0, soft("spam_block"))).await;
    assert_eq!(house.suppressed().await, []);
    let success = house.another("accepted").await;
    for _ in 0..4 {
        bounce().await;
    }
    assert_eq!(house.suppressed().await, [], "four, an accepted one, four");
    bounce().await;
    assert_eq!(house.suppressed().await, [("bounce".to_owned(), false)]);
    let days = house
        .stage
        .number("SELECT round(extract(epoch FROM expires_at - now()) / 86400)::bigint FROM suppressions", Uuid::nil())
        .await;
    assert_eq!(days, 30);
    // For good, then: a shorter one does not take it back.
    house
        .tell(&Fact { about: About::Delivery { campaign_id: success, contact_id: house.contacts[0] }, ..house.fact(0, hard()) })
        .await;
    bounce().await;
    assert_eq!(house.suppressed().await, [("bounce".to_owned(), true)]);
}

#[tokio::test]
async fn a_refusal_in_the_session_meets_the_same_policy() {
    let house = house(&["sending", "sending", "sending"]).await;
    let outcome = |index: usize, state, code, enhanced: &str| Outcome {
        campaign_id: house.fixture.campaign_id,
        contact_id: house.contacts[index],
        attempt_id: 7,
        route_id: Uuid::nil(),
        state,
        released: false,
        smtp_code: Some(code),
        enhanced_code: Some(enhanced.to_owned()),
        response: Some("no".to_owned()),
        reason: None,
        delay_seconds: 0.0,
    };
    let outcomes = [
        outcome(0, State::Bounced, 550, "5.1.1"),
        outcome(1, State::Failed, 554, "5.7.1"),
        outcome(2, State::Accepted, 250, "2.0.0"),
    ];
    let mut connection = house.stage.pool.acquire().await.unwrap();
    assert_eq!(ledger::record(&mut connection, &outcomes).await.unwrap(), 3);
    assert_eq!(house.suppressed().await, [], "the senders wait for nothing");
    let (one, other) = tokio::join!(refusals::take(&house.stage.pool), refusals::take(&house.stage.pool));
    assert_eq!(one.unwrap() + other.unwrap(), 2);
    assert_eq!(house.suppressed().await, [("bounce".to_owned(), true)]);
    assert_eq!(refusals::take(&house.stage.pool).await.unwrap(), 0);
    let events = event::about(&house.stage.pool, house.about(1)).await.unwrap();
    assert_eq!((events[0].class.as_deref(), events[0].hard), (Some("policy"), false));
}

#[tokio::test]
async fn too_many_complaints_warn_then_pause_with_a_reason_and_who_resumes_is_not_overruled_at_once() {
    let house = house(&["accepted"; 20]).await;
    let policy =
        Policy { complaint_warn_percent: 5.0, complaint_pause_percent: 10.0, complaint_least_accepted: 10, ..Policy::default() };
    let scope = shared::accounts::scope::Scope::client(house.fixture.workspace_id);
    let mut connection = house.stage.pool.acquire().await.unwrap();
    shared::suppressions::policy::set(&mut connection, scope, &shared::version::Expected::Any, &policy).await.unwrap();
    let watched = async |index: usize| {
        house.tell(&house.fact(index, complaint())).await;
        house.stage.execute("UPDATE campaign_complaints SET judged_at = now() - interval '2 minutes'").await;
        let judged = complaints::watch(&house.stage.pool).await.unwrap();
        assert_eq!(judged.len(), 1);
        (judged[0].warned, judged[0].paused)
    };
    assert_eq!(watched(0).await, (false, false), "exactly 5 %");
    assert_eq!(watched(1).await, (true, false));
    assert_eq!(watched(2).await, (false, true));
    assert_eq!(house.campaign_state().await, "paused");
    let reason =
        house.stage.text("SELECT pause_reason FROM campaigns WHERE id = $1::uuid", &house.fixture.campaign_id.to_string()).await;
    assert_eq!(reason, "15.00 % of its accepted mails are complained about; the workspace's policy pauses above 10 %");
    let mut transaction = database::begin(&house.stage.pool).await.unwrap();
    shared::campaigns::transitions::resume(&mut transaction, scope, house.fixture.campaign_id).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(house.stage.number("SELECT count(*) FROM campaigns WHERE pause_reason IS NOT NULL", Uuid::nil()).await, 0);
    assert_eq!((watched(3).await, watched(4).await), ((false, false), (false, false)));
    assert_eq!(watched(5).await, (false, true), "they have doubled");
    assert_eq!(complaints::watch(&house.stage.pool).await.unwrap(), [], "nothing is new");
}

#[tokio::test]
async fn a_suppression_counts_until_it_expires() {
    let house = house(&["accepted"]).await;
    let mut connection = house.stage.pool.acquire().await.unwrap();
    let workspace = house.fixture.workspace_id;
    let reason = suppression::Reason::Bounce;
    assert!(suppression::suppress(&mut connection, workspace, "a@orchard.test", reason, Some(30)).await.unwrap());
    assert!(!suppression::suppress(&mut connection, workspace, "a@orchard.test", reason, Some(10)).await.unwrap(), "shorter");
    assert_eq!(suppression::prune(&house.stage.pool).await.unwrap(), 0);
    house.stage.execute("UPDATE suppressions SET expires_at = now() - interval '1 second'").await;
    assert_eq!(suppression::prune(&house.stage.pool).await.unwrap(), 1);
}
