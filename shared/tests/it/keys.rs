//! Exchanging the key that credentials are sealed under.

use shared::{
    operations::reseal,
    routes::{route, usable},
    settings::Settings,
    testing::Stage,
    vault::{self, Vault},
};
use uuid::Uuid;

const OLD: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const NEW: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn vault(single: &str, ring: &str) -> Vault {
    let mut secrets = Settings::sample().secrets;
    (secrets.encryption_key, secrets.encryption_keys) = (single.to_owned().into(), ring.to_owned().into());
    Vault::from_settings(&secrets).unwrap()
}

async fn route(stage: &Stage, vault: &Vault, name: &str) -> Uuid {
    let new = route::NewRoute {
        name: name.to_owned(),
        url: "smtp://ann:hunter2@mail.test:587".to_owned(),
        username: None,
        password: None,
        tls: route::Tls::Required,
        max_connections: 5,
        rate_per_second: None,
        weight: 1,
    };
    route::create(&mut stage.pool.acquire().await.unwrap(), vault, new).await.unwrap().id
}

#[tokio::test]
async fn what_an_old_key_sealed_is_sealed_again_until_nothing_needs_the_old_key() {
    let stage = Stage::new().await;
    let (old, both, new) = (vault(OLD, ""), vault(OLD, &format!("2026b:{NEW}")), vault("", &format!("2026b:{NEW}")));
    for name in ["a", "b", "c"] {
        route(&stage, &old, name).await;
    }
    route(&stage, &both, "d").await;
    // Two at once: every value is changed once.
    let (first, second) = tokio::join!(reseal::all(&stage.pool, &both), reseal::all(&stage.pool, &both));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.changed + second.changed, 3);
    let again = reseal::all(&stage.pool, &both).await.unwrap();
    assert_eq!((again.changed, again.by_key), (0, [("2026b".to_owned(), 4)].into()));
    let passwords: Vec<_> = usable::all(&stage.pool, &new).await.unwrap().into_iter().filter_map(|route| route.password).collect();
    assert_eq!(passwords.iter().map(|password| password.expose()).collect::<Vec<_>>(), ["hunter2"; 4]);
}

#[tokio::test]
async fn what_no_key_opens_is_named_and_left_as_it_is() {
    let stage = Stage::new().await;
    let id = route(&stage, &vault(OLD, ""), "a").await;
    let resealed = reseal::all(&stage.pool, &vault("", &format!("2026b:{NEW}"))).await.unwrap();
    let told = format!("routes {id}: the secret was sealed under the key \"0\", which secrets.encryption_keys does not have");
    assert_eq!(resealed.broken, [told]);
    let sealed: Vec<u8> = sqlx::query_scalar("SELECT password_sealed FROM routes").fetch_one(&stage.pool).await.unwrap();
    assert_eq!(vault::key_id(&sealed), Some("0"));
}

#[tokio::test]
async fn every_sealed_column_is_sealed_again() {
    let stage = Stage::new().await;
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT table_name::text, column_name::text FROM information_schema.columns
         WHERE table_schema = 'public' AND column_name LIKE '%\\_sealed' ORDER BY 1, 2",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    let known: Vec<(String, String)> = reseal::COLUMNS.map(|(table, _, column)| (table.to_owned(), column.to_owned())).into();
    assert_eq!(columns, known);
}
