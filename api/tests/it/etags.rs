use axum::{
    body::Body,
    http::{Method, Request, header},
};
use insta::assert_json_snapshot;
use serde_json::{Value, json};

use crate::{
    app::{Answer, Person, TestApp},
    shop::{Shop, text},
};

async fn ask(app: &TestApp, person: &Person, method: Method, path: &str, condition: (&str, &str), body: Option<&Value>) -> Answer {
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/api/v1{path}"))
        .header(header::AUTHORIZATION, format!("Bearer {}", person.token))
        .header(condition.0, condition.1);
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
    request = request.header(header::CONTENT_TYPE, "application/json");
    app.send(request.body(body).expect("a request")).await
}

fn tag(answer: &Answer) -> String {
    answer.headers[header::ETAG].to_str().expect("a tag").to_owned()
}

/// Every updatable thing of a shop: who changes it, its path, a change, another one.
async fn things(shop: &Shop) -> [(&Person, String, Value, Value); 4] {
    let (a, b) = (json!({ "name": "Autumn" }), json!({ "name": "Winter" }));
    let campaign = shop.campaign().await;
    [
        (&shop.owner, format!("/campaigns/{campaign}"), a.clone(), b.clone()),
        (&shop.owner, format!("/contacts/{}", shop.contact_ids[0]), a.clone(), b.clone()),
        (&shop.owner, format!("/lists/{}", shop.list_id), a.clone(), b.clone()),
        (&shop.admin, format!("/routes/{}", shop.route_id), a, b),
    ]
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let shop = Shop::new().await;
    for (person, path, change, _) in things(&shop).await {
        let first = shop.app.get(person, &path).await;
        let known = tag(&first);
        for condition in [known.clone(), format!("\"other\", W/{known}"), "*".to_owned()] {
            let again = ask(&shop.app, person, Method::GET, &path, ("if-none-match", &condition), None).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path} {condition}");
            assert_eq!(tag(&again), known);
        }
        let changed = shop.app.patch(person, &path, change).await;
        let again = ask(&shop.app, person, Method::GET, &path, ("if-none-match", &known), None).await;
        assert_eq!(again.expect(200), changed.json(), "{path}");
        assert_eq!(tag(&again), tag(&changed), "{path}");
        assert_ne!(tag(&again), known, "{path}");
    }
}

#[tokio::test]
async fn of_two_changes_that_expect_the_same_version_exactly_one_is_made() {
    let shop = Shop::new().await;
    for (person, path, change, other) in things(&shop).await {
        let known = tag(&shop.app.get(person, &path).await);
        let (one, two) = tokio::join!(
            ask(&shop.app, person, Method::PATCH, &path, ("if-match", &known), Some(&change)),
            ask(&shop.app, person, Method::PATCH, &path, ("if-match", &known), Some(&other)),
        );
        let mut statuses = [one.status.as_u16(), two.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{path}");
        let won = if one.status == 200 { &change } else { &other };
        assert_eq!(shop.app.get(person, &path).await.expect(200)["name"], won["name"], "{path}");
        ask(&shop.app, person, Method::DELETE, &path, ("if-match", &known), None).await.problem(412);
        for condition in ["\"nonsense\"", "W/\"1-2\"", ""] {
            ask(&shop.app, person, Method::PATCH, &path, ("if-match", condition), Some(&other)).await.problem(412);
        }
    }
}

#[tokio::test]
async fn a_change_may_expect_anything_or_one_of_several() {
    let shop = Shop::new().await;
    for (person, path, change, other) in things(&shop).await {
        shop.app.patch(person, &path, change.clone()).await.expect(200);
        ask(&shop.app, person, Method::PATCH, &path, ("if-match", "*"), Some(&other)).await.expect(200);
        let several = format!("\"1-2\", {}", tag(&shop.app.get(person, &path).await));
        let changed = ask(&shop.app, person, Method::PATCH, &path, ("if-match", &several), Some(&change)).await;
        changed.expect(200);
        let gone = ask(&shop.app, person, Method::DELETE, &path, ("if-match", &tag(&changed)), None).await;
        assert_eq!(gone.status, 204, "{path}");
    }
}

#[tokio::test]
async fn a_list_whose_members_change_is_told_anew_and_can_still_be_renamed() {
    let shop = Shop::new().await;
    let path = format!("/lists/{}", shop.list_id);
    let known = tag(&shop.app.get(&shop.owner, &path).await);
    assert_eq!(shop.app.delete(&shop.owner, &format!("{path}/contacts/{}", shop.contact_ids[0])).await.status, 204);
    let again = ask(&shop.app, &shop.owner, Method::GET, &path, ("if-none-match", &known), None).await;
    assert_eq!(again.expect(200)["contacts"], 1);
    ask(&shop.app, &shop.owner, Method::PATCH, &path, ("if-match", &known), Some(&json!({ "name": "Readers" }))).await.expect(200);
    let late = ask(&shop.app, &shop.owner, Method::PATCH, &path, ("if-match", &known), Some(&json!({ "name": "Late" }))).await;
    let mut problem = late.problem(412);
    problem["detail"] = json!(text(&problem["detail"]).replace(&shop.list_id, "…"));
    assert_json_snapshot!(problem, @r#"
    {
      "detail": "list … is no longer what If-Match names: read it again",
      "status": 412,
      "title": "Precondition Failed",
      "type": "about:blank"
    }
    "#);
}
