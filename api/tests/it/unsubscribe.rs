use axum::{
    body::Body,
    http::{Request, header},
};
use serde_json::json;

use crate::{app::Answer, shop::Shop};

async fn link(shop: &Shop, method: &str, token: &str, body: (&str, &str)) -> Answer {
    let request = Request::builder().method(method).uri(format!("/u/{token}")).header(header::CONTENT_TYPE, body.0);
    shop.app.send(request.body(Body::from(body.1.to_owned())).expect("a request")).await
}

async fn state(shop: &Shop) -> (String, i64) {
    let contact = shop.app.get(&shop.owner, &format!("/contacts/{}", shop.contact_ids[0])).await.expect(200);
    let suppressed = shop.app.get(&shop.owner, "/suppressions").await.expect(200)["pagination"]["total"].as_i64();
    (crate::shop::text(&contact["state"]), suppressed.expect("a number"))
}

async fn token(shop: &Shop) -> String {
    let campaign = shop.campaign().await;
    shop.app.state.links.unsubscribe_token(campaign.parse().expect("an id"), shop.contact_ids[0].parse().expect("an id"))
}

const FORM: (&str, &str) = ("application/x-www-form-urlencoded", "List-Unsubscribe=One-Click");
const MULTIPART: (&str, &str) = (
    "multipart/form-data; boundary=x",
    "--x\r\nContent-Disposition: form-data; name=\"List-Unsubscribe\"\r\n\r\nOne-Click\r\n--x--\r\n",
);

#[tokio::test]
async fn looking_at_the_link_changes_nothing() {
    let shop = Shop::new().await;
    let answer = link(&shop, "GET", &token(&shop).await, ("text/plain", "")).await;
    assert_eq!(answer.status, 200);
    let page = String::from_utf8(answer.body).expect("UTF-8");
    assert!(page.contains("<form method=\"post\">") && page.contains("<html lang=\"en\">"));
    assert!(!page.contains("ada@one.test"), "the page tells nobody's address");
    assert_eq!(answer.headers[header::REFERRER_POLICY], "no-referrer");
    assert_eq!(answer.headers["x-robots-tag"], "noindex, nofollow");
    assert!(answer.headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII").starts_with("default-src 'none'"));
    assert_eq!(state(&shop).await, ("subscribed".to_owned(), 0));
}

#[tokio::test]
async fn one_click_unsubscribes_and_suppresses_once() {
    let shop = Shop::new().await;
    let token = token(&shop).await;
    for body in [FORM, MULTIPART, FORM] {
        let answer = link(&shop, "POST", &token, body).await;
        assert_eq!(answer.status, 200);
        assert!(answer.headers.get(header::LOCATION).is_none());
        assert_eq!(state(&shop).await, ("unsubscribed".to_owned(), 1));
    }
    let suppression = &shop.app.get(&shop.owner, "/suppressions").await.expect(200)["data"][0];
    assert_eq!((&suppression["value"], &suppression["reason"]), (&json!("ada@one.test"), &json!("unsubscribe")));
}

#[tokio::test]
async fn a_link_works_when_its_contact_and_campaign_are_deleted() {
    let shop = Shop::new().await;
    let campaign = shop.campaign().await;
    shop.deliver(&campaign, ["accepted", "accepted"]).await;
    let token =
        shop.app.state.links.unsubscribe_token(campaign.parse().expect("an id"), shop.contact_ids[0].parse().expect("an id"));
    shop.app.delete(&shop.owner, &format!("/contacts/{}", shop.contact_ids[0])).await.expect(204);
    shop.app.delete(&shop.owner, &format!("/campaigns/{campaign}")).await.expect(204);
    assert_eq!(link(&shop, "POST", &token, FORM).await.status, 200);
    assert_eq!(shop.app.get(&shop.owner, "/suppressions?search=ada@one.test").await.expect(200)["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_bad_link_reveals_nothing_and_changes_nothing() {
    let shop = Shop::new().await;
    let token = token(&shop).await;
    let nobody = shop.app.state.links.unsubscribe_token(uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let changed = format!("{}{}", &token[..65], if token.ends_with('A') { 'B' } else { 'A' });
    let mut pages = Vec::new();
    for bad in ["x", "preview", changed.as_str(), nobody.as_str()] {
        let answer = link(&shop, "POST", bad, FORM).await;
        assert_eq!(answer.status, 404, "{bad}");
        assert_eq!(answer.headers[header::CONTENT_TYPE], "text/html; charset=utf-8");
        pages.push(answer.body);
    }
    assert!(pages.windows(2).all(|two| two[0] == two[1]));
    assert_eq!(state(&shop).await, ("subscribed".to_owned(), 0));
}
