//! Campaigns over real SMTP, and their signatures as an independent implementation finds them.

use serde_json::{Value, json};
use shared::{
    queue::{
        job::{self, Enqueue},
        lane::Lane,
    },
    vault::{Links, Origin},
};

use crate::{
    house::House,
    signing::{Records, domain, verified},
};

const BOTH: [&str; 2] = ["rsa-sha256", "ed25519-sha256"];

/// Subject, HTML, text.
fn contents() -> Vec<(String, String, String)> {
    let plain = || "<p>hello</p>".to_owned();
    let text = |text: &str| text.to_owned();
    vec![
        (text("Hello"), plain(), text("hello")),
        (text("A folded subject ").repeat(11).trim_end().to_owned(), plain(), text("hello")),
        (text("Frühling 春のセール 😀 ").repeat(9), text("<p>für Zoë 😀</p>"), text("für Zoë\t春")),
        (text("  two  blanks "), text(" "), text("")),
        (text("Blank lines"), text("<p>a</p>\n\n\n"), text("\n\n a \t\n\n \t \n\n\n")),
        (text("Dots"), text(".\n..\n.x\n<p>.</p>\n."), text(".\n.\n\n.\n..\n")),
        (text("Long lines"), format!("<p>{}</p>", "long ".repeat(2_000)), format!("{}\nb", "x".repeat(5_000))),
        (text("100 KB"), format!("<p>{}</p>", "0123456789 = é\n".repeat(6_800)), text("see the HTML")),
    ]
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_signatures_of_every_mail_hold_and_a_changed_one_does_not() {
    let house = House::new().await;
    let (mut campaigns, mut records) = (Vec::new(), Records::new());
    for (number, (subject, html, text)) in contents().into_iter().enumerate() {
        let campaign = house.stage.campaign(&[(&format!("n{number}.test"), 1)]).await;
        let own = format!("shop{number}.test");
        records.extend(domain(&house.stage, campaign.workspace_id, &own, &BOTH).await);
        house
            .stage
            .arrange(format!(
                "UPDATE campaigns SET from_email = 'news@{own}', subject = {}, html = {}, text = {} WHERE id = '{}'",
                quoted(&subject),
                quoted(&html),
                quoted(&text),
                campaign.campaign_id
            ))
            .await;
        campaigns.push(campaign);
    }
    let worker = house.worker(&[(Lane::Bulk, 4)]).await;
    for campaign in &campaigns {
        assert_eq!(house.until_finished(campaign.campaign_id).await.accepted, 1);
    }
    worker.stop().await;

    let received = house.sink.counts.received();
    assert_eq!(received.len(), campaigns.len());
    let links = Links::from_settings(&house.stage.settings).expect("keys");
    for mail in &received {
        let number = mail.recipient.split_once("@n").and_then(|(_, domain)| domain.strip_suffix(".test")).expect("its number");
        let (local, host) = mail.sender.split_once('@').expect("a sender");
        assert_eq!(host, format!("bounces.shop{number}.test"));
        let origin = links.read_return_path(local).expect("a return path of ours");
        let Origin::Delivery { campaign_id, .. } = origin else { panic!("{origin:?}") };
        assert_eq!(campaign_id, campaigns[number.parse::<usize>().expect("a number")].campaign_id);
        let head = String::from_utf8(mail.bytes.clone()).expect("7 bit");
        let mailto = head.split_once(">,\r\n <mailto:").and_then(|(_, rest)| rest.split_once('@')).expect("a mailbox").0;
        assert_eq!(links.read_unsubscribe_mailbox(mailto).map(|(campaign, _)| campaign), Some(campaign_id));
        let covered = head.split_once("h=").and_then(|(_, rest)| rest.split_once(';')).expect("a list").0.replace("\r\n\t", "");
        for name in ["list-unsubscribe", "list-unsubscribe-post", "list-id", "feedback-id", "message-id", "subject", "date", "to"] {
            assert!(covered.split(':').any(|one| one == name), "{covered} lacks {name}");
        }
        assert_eq!(covered.split(':').filter(|one| *one == "from").count(), 2, "{covered}");
    }

    let mut mails: Vec<Vec<u8>> = received.into_iter().map(|mail| mail.bytes).collect();
    assert!(mails.iter().any(|mail| mail.len() > 100_000));
    let changed: Vec<Vec<u8>> = mails.iter().map(|mail| String::from_utf8_lossy(mail).replace("One-Click", "Two").into()).collect();
    mails.extend(changed);
    let Some(verdicts) = verified(&records, &mails).await else { return };
    let (whole, changed) = verdicts.split_at(campaigns.len());
    let hold = BOTH.map(|algorithm| (algorithm.to_owned(), Value::Bool(true)));
    for signatures in whole {
        assert_eq!(signatures, &hold);
    }
    for signatures in changed {
        assert!(signatures.len() == 2 && signatures.iter().all(|(_, holds)| *holds != true), "{signatures:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_domain_signs_with_the_keys_that_it_has_and_a_test_mail_as_the_campaign() {
    let house = House::new().await;
    let mut records = Records::new();
    for (number, algorithms) in [&["rsa-sha256"][..], &["ed25519-sha256"], &[]].into_iter().enumerate() {
        let campaign = house.stage.campaign(&[]).await;
        let own = format!("shop{number}.test");
        records.extend(domain(&house.stage, campaign.workspace_id, &own, algorithms).await);
        house.stage.arrange(format!("UPDATE campaigns SET from_email = 'news@{own}' WHERE id = '{}'", campaign.campaign_id)).await;
        let test =
            shared::campaigns::payload::SendTest { campaign_id: campaign.campaign_id, to: vec![format!("ada@n{number}.test")] };
        let mut connection = house.stage.pool.acquire().await.expect("a connection");
        job::enqueue(&mut connection, &test, Enqueue { workspace_id: Some(campaign.workspace_id), ..Enqueue::default() })
            .await
            .expect("a job");
    }
    let worker = house.worker(&[(Lane::Critical, 2)]).await;
    for _ in 0..600 {
        if house.sink.counts.stats().received == 3 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    worker.stop().await;
    let mut received = house.sink.counts.received();
    received.sort_by(|a, b| a.recipient.cmp(&b.recipient));
    let hosts: Vec<&str> = received.iter().map(|mail| mail.sender.split_once('@').expect("a sender").1).collect();
    assert_eq!(hosts, ["bounces.shop0.test", "bounces.shop1.test", "bounces.shop2.test"]);
    let mails: Vec<Vec<u8>> = received.into_iter().map(|mail| mail.bytes).collect();
    let algorithms = |mail: &[u8]| String::from_utf8_lossy(mail).matches("DKIM-Signature: v=1; a=").count();
    assert_eq!(mails.iter().map(|mail| algorithms(mail)).collect::<Vec<_>>(), [1, 1, 0], "a retiring key signs no more");
    let Some(verdicts) = verified(&records, &mails).await else { return };
    assert_eq!(json!(verdicts), json!([[["rsa-sha256", true]], [["ed25519-sha256", true]], []]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_does_not_open_lets_nothing_out() {
    let house = House::new().await;
    let campaign = house.stage.campaign(&[("orchard.test", 3)]).await;
    domain(&house.stage, campaign.workspace_id, "shop.test", &BOTH).await;
    house.stage.execute("UPDATE campaigns SET from_email = 'news@shop.test'").await;
    house.stage.execute("UPDATE dkim_keys SET private_key_sealed = '\\x01' WHERE state = 'active'").await;
    let worker = house.worker(&[(Lane::Bulk, 2)]).await;
    let failed = "SELECT count(*) FROM jobs WHERE kind = 'SendChunk' AND last_error LIKE '%a key of shop.test cannot be used%'";
    let mut looks = 0;
    while house.stage.number(failed, campaign.campaign_id).await == 0 {
        looks += 1;
        assert!(looks < 600, "no run has failed within half a minute");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    worker.stop().await;
    assert_eq!(house.sink.counts.stats().received, 0);
}
