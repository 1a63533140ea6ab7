//! As whom a workspace's mail from a domain goes out.

use shared::{
    sending_domains::{dkim_key, identity},
    testing::Stage,
    vault::Vault,
};
use uuid::Uuid;

#[tokio::test]
async fn a_domain_signs_once_its_keys_are_active_and_takes_bounces_once_its_host_does() {
    let stage = Stage::new().await;
    let (own, other) = (stage.workspace("own").await, stage.workspace("other").await);
    let vault = Vault::from_settings(&stage.settings.secrets).expect("a key");
    let look = async |workspace: Uuid, domain: &str| {
        let found = identity::find(&stage.pool, &vault, &stage.clock, workspace, domain).await.expect("an identity");
        (found.signer.is_some(), found.return_path_host)
    };
    assert_eq!(look(own, "shop.test").await, (false, None), "not known");

    let id = Uuid::now_v7();
    stage
        .arrange(format!(
            "INSERT INTO sending_domains (id, workspace_id, domain, ownership_token, return_path_host)
             VALUES ('{id}', '{own}', 'shop.test', 'token', 'bounces.shop.test')"
        ))
        .await;
    let mut connection = stage.pool.acquire().await.expect("a connection");
    dkim_key::insert(&mut connection, &vault, id, &dkim_key::make_pair().await.expect("keys")).await.expect("stored");
    assert_eq!(look(own, "shop.test").await, (false, None), "nothing was seen in DNS yet");

    for key in dkim_key::published(&mut connection, id).await.expect("keys") {
        dkim_key::activate(&mut connection, &key, stage.clock.now()).await.expect("activated");
    }
    stage.execute("UPDATE sending_domains SET state = 'verified', verified_at = now()").await;
    assert_eq!(look(own, "shop.test").await, (true, Some("bounces.shop.test".to_owned())));
    assert_eq!(look(other, "shop.test").await, (false, None), "somebody else's");
    assert_eq!(look(own, "mail.shop.test").await, (false, None), "another domain");

    stage
        .execute(r#"UPDATE sending_domains SET state = 'degraded', checks = '[{"name": "return_path", "verdict": "warn"}]'"#)
        .await;
    assert_eq!(look(own, "shop.test").await, (true, Some("bounces.shop.test".to_owned())));
    stage.execute(r#"UPDATE sending_domains SET checks = '[{"name": "mx", "verdict": "pass"}, {"name": "return_path", "verdict": "fail"}]'"#).await;
    assert_eq!(look(own, "shop.test").await, (true, None), "bounces would be lost");
    stage.execute("UPDATE sending_domains SET state = 'failed', checks = '[]'").await;
    assert_eq!(look(own, "shop.test").await.1, None);
}
