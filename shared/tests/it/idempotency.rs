//! What is kept of keyed requests.

use shared::{
    accounts::{
        level::Level,
        user::{self, NewUser, Role},
    },
    idempotency::{
        fingerprint::Fingerprint,
        keyed::{self, Answer, Asked, Begun},
    },
    settings::Settings,
    testing::Stage,
    vault::Vault,
};

const BODY: &[u8] = br#"{"email":"ada@example.com","password":"correct horse battery"}"#;
const ANSWER: &[u8] = br#"{"secret":"hunter2"}"#;

fn vault(keys: &str) -> Vault {
    let mut secrets = Settings::sample().secrets;
    (secrets.encryption_key, secrets.encryption_keys) = (String::new().into(), keys.to_owned().into());
    Vault::from_settings(&secrets).unwrap()
}

/// What somebody asks for under a key.
async fn asked(stage: &Stage) -> Asked {
    let new = NewUser {
        workspace_id: stage.workspace("Acme").await,
        email: "ann@example.com".to_owned(),
        name: String::new(),
        password_hash: String::new(),
        role: Role::Client,
        level: Level::Owner,
        email_verified_at: None,
    };
    let user_id = user::create(&mut stage.pool.acquire().await.unwrap(), new).await.unwrap();
    let fingerprint = Some(Fingerprint::of(BODY));
    Asked { user_id, key: "k".to_owned(), operation: "POST /users".to_owned(), fingerprint }
}

fn answer() -> Answer {
    Answer { status: 201, headers: vec![], body: ANSWER.to_vec() }
}

async fn done(stage: &Stage, vault: &Vault, asked: &Asked) {
    let Begun::Run(run) = keyed::begin(&stage.pool, vault, asked, stage.clock.now()).await.unwrap() else { panic!("it is free") };
    assert!(run.finish(&stage.pool, vault, &answer(), None).await.unwrap());
}

async fn again(stage: &Stage, vault: &Vault, asked: &Asked) -> Begun {
    keyed::begin(&stage.pool, vault, asked, stage.clock.now()).await.unwrap()
}

const OLD: &str = "a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const BOTH: &str = "b:AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=,a:AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

#[tokio::test]
async fn whoever_reads_the_table_learns_neither_an_answer_nor_a_body() {
    let stage = Stage::new().await;
    let (vault, asked) = (vault(OLD), asked(&stage).await);
    done(&stage, &vault, &asked).await;
    let (plain, sealed, mark): (Option<Vec<u8>>, Vec<u8>, Vec<u8>) =
        sqlx::query_as("SELECT body, answer_sealed, body_hash FROM idempotency_keys").fetch_one(&stage.pool).await.unwrap();
    assert_eq!(plain, None);
    assert!(!sealed.windows(7).any(|window| window == b"hunter2"));
    assert_ne!(mark, Fingerprint::of(BODY), "a body that can be guessed cannot be tried without the key");
    assert!(matches!(again(&stage, &vault, &asked).await, Begun::Done(kept, None) if kept == answer()));
    let other = Asked { fingerprint: Some(Fingerprint::of(b"{}")), ..asked };
    assert!(matches!(again(&stage, &vault, &other).await, Begun::Other));
}

#[tokio::test]
async fn a_key_that_is_exchanged_meanwhile_changes_nothing() {
    let stage = Stage::new().await;
    let asked = asked(&stage).await;
    done(&stage, &vault(OLD), &asked).await;
    assert!(matches!(again(&stage, &vault(BOTH), &asked).await, Begun::Done(kept, None) if kept == answer()));
    // A run that died before the exchange is taken over after it.
    stage
        .execute(
            "UPDATE idempotency_keys SET status = NULL, headers = NULL, answer_sealed = NULL, lease_until = now() - interval '1 s'",
        )
        .await;
    assert!(matches!(again(&stage, &vault(BOTH), &asked).await, Begun::Run(_)));
}

#[tokio::test]
async fn what_the_version_before_kept_is_answered_still() {
    let stage = Stage::new().await;
    let (vault, asked) = (vault(OLD), asked(&stage).await);
    done(&stage, &vault, &asked).await;
    sqlx::query("UPDATE idempotency_keys SET answer_sealed = NULL, body = $1, body_hash = $2")
        .bind(ANSWER)
        .bind(Fingerprint::of(BODY))
        .execute(&stage.pool)
        .await
        .unwrap();
    assert!(matches!(again(&stage, &vault, &asked).await, Begun::Done(kept, None) if kept == answer()));
    let unread = Asked { fingerprint: None, ..asked };
    let Begun::Done(_, Some(mark)) = again(&stage, &vault, &unread).await else { panic!("it was done") };
    assert!(mark.is_of(&vault, &Fingerprint::of(BODY)) && !mark.is_of(&vault, &Fingerprint::of(b"{}")));
}
