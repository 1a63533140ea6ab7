//! Domains that mail comes from, and their keys.

use aws_lc_rs::signature::{Ed25519KeyPair, RsaKeyPair};
use chrono::TimeDelta;
use shared::{
    sending_domains::dkim_key::{self, Algorithm, DkimKey, OVERLAP},
    testing::Stage,
    vault::Vault,
};
use uuid::Uuid;

async fn domain(stage: &Stage) -> (Uuid, Uuid) {
    let (workspace_id, id) = (stage.workspace("Acme").await, Uuid::now_v7());
    stage
        .arrange(format!(
            "INSERT INTO sending_domains (id, workspace_id, domain, ownership_token, return_path_host)
             VALUES ('{id}', '{workspace_id}', 'shop.test', 'token', 'bounces.shop.test')"
        ))
        .await;
    (workspace_id, id)
}

fn states(keys: &[DkimKey]) -> Vec<(Algorithm, &str)> {
    keys.iter().map(|key| (key.algorithm, key.state.as_str())).collect()
}

#[tokio::test]
async fn a_key_signs_once_its_record_was_seen_and_retires_when_its_successor_signs() {
    let stage = Stage::new().await;
    let vault = Vault::from_settings(&stage.settings.secrets).unwrap();
    let (workspace_id, id) = domain(&stage).await;
    let mut connection = stage.pool.acquire().await.unwrap();
    let now = stage.clock.now();
    let active = async || dkim_key::active(&stage.pool, &vault, workspace_id, "shop.test").await.unwrap();

    dkim_key::insert(&mut connection, &vault, id, &dkim_key::make_pair().await.unwrap()).await.unwrap();
    let first = dkim_key::published(&mut connection, id).await.unwrap();
    assert_eq!(states(&first), [(Algorithm::Rsa, "pending"), (Algorithm::Ed25519, "pending")]);
    assert!(
        first[0].record_value().starts_with("v=DKIM1; k=rsa; p=MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"),
        "{}",
        first[0].record_value()
    );
    assert_eq!(first[1].public_key.len(), 44);
    assert!(active().await.is_empty());

    for key in &first {
        dkim_key::activate(&mut connection, key, now).await.unwrap();
    }
    let signing = active().await;
    assert_eq!(signing.len(), 2);
    assert!(!format!("{signing:?}").contains("pkcs8"));
    for key in &signing {
        match key.algorithm {
            Algorithm::Rsa => assert!(RsaKeyPair::from_pkcs8(&key.pkcs8).is_ok()),
            Algorithm::Ed25519 => assert!(Ed25519KeyPair::from_pkcs8(&key.pkcs8).is_ok()),
        }
    }

    dkim_key::insert(&mut connection, &vault, id, &dkim_key::make_pair().await.unwrap()).await.unwrap();
    let all = dkim_key::published(&mut connection, id).await.unwrap();
    assert_eq!(active().await[1].selector, first[0].selector, "the new one was not seen yet");
    dkim_key::activate(&mut connection, &all[2], now).await.unwrap();
    dkim_key::activate(&mut connection, &all[2], now).await.unwrap();
    let all = dkim_key::published(&mut connection, id).await.unwrap();
    let (rsa, ed25519) = (Algorithm::Rsa, Algorithm::Ed25519);
    assert_eq!(states(&all), [(rsa, "retiring"), (ed25519, "active"), (rsa, "active"), (ed25519, "pending")]);
    assert_eq!(active().await[1].selector, all[2].selector);

    dkim_key::retire(&mut connection, id, now + OVERLAP - TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(dkim_key::published(&mut connection, id).await.unwrap().len(), 4);
    dkim_key::retire(&mut connection, id, now + OVERLAP).await.unwrap();
    assert_eq!(dkim_key::published(&mut connection, id).await.unwrap().len(), 3);
}
