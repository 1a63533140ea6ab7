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

/// Something that can be changed, by whom and how.
struct Thing<'a> {
    who: &'a Person,
    /// Where it is told.
    path: String,
    /// Where it is changed, and by which method.
    change: (Method, String),
    /// Two changes; both name what [`Thing::tells`] points to.
    bodies: [Value; 2],
    tells: &'static str,
    /// Whether it can be removed.
    goes: bool,
}

impl<'a> Thing<'a> {
    /// With a name that a PATCH changes.
    fn named(who: &'a Person, path: String) -> Self {
        let bodies = ["Autumn", "Winter"].map(|name| json!({ "name": name }));
        Self { who, change: (Method::PATCH, path.clone()), path, bodies, tells: "/name", goes: true }
    }

    /// That a PUT replaces.
    fn whole(who: &'a Person, path: &str, bodies: [Value; 2], tells: &'static str) -> Self {
        Self { who, change: (Method::PUT, path.to_owned()), path: path.to_owned(), bodies, tells, goes: false }
    }

    fn kept(self) -> Self {
        Self { goes: false, ..self }
    }

    async fn change(&self, shop: &Shop, condition: &str, body: &Value) -> Answer {
        let (method, path) = self.change.clone();
        ask(&shop.app, self.who, method, &path, ("if-match", condition), Some(body)).await
    }

    async fn told(&self, shop: &Shop) -> Answer {
        shop.app.get(self.who, &self.path).await
    }
}

/// Every updatable thing of a shop.
async fn things(shop: &Shop) -> Vec<Thing<'_>> {
    let (owner, admin) = (&shop.owner, &shop.admin);
    let template = |name: &str| json!({ "name": name, "subject": "Hello", "text": "Hello" });
    let id = text(&shop.app.post(owner, "/templates", template("Summer")).await.expect(201)["id"]);
    let policy = shop.app.get(owner, "/suppression-policy").await.expect(200);
    let soft = |count: i32| {
        let mut policy = policy.clone();
        policy["soft_bounces"] = json!(count);
        policy
    };
    let limits = |rate: f64| json!({ "rate_per_second": rate });
    shop.app.put(admin, "/destinations/harbor.test/limits", limits(4.0)).await.expect(200);
    let limited = Thing::whole(admin, "/destinations/harbor.test/limits", [limits(5.0), limits(6.0)], "/rate_per_second");
    let paused = |reason: &str| json!({ "paused": true, "reason": reason });
    vec![
        Thing::named(owner, format!("/campaigns/{}", shop.campaign().await)),
        Thing::named(owner, format!("/contacts/{}", shop.contact_ids[0])),
        Thing::named(owner, format!("/lists/{}", shop.list_id)),
        Thing::named(admin, format!("/routes/{}", shop.route_id)),
        Thing::named(owner, "/me".to_owned()).kept(),
        Thing::named(admin, format!("/users/{}", admin.user_id)).kept(),
        Thing::named(owner, format!("/workspaces/{}", owner.workspace_id)).kept(),
        Thing { goes: true, ..Thing::whole(owner, &format!("/templates/{id}"), [template("Autumn"), template("Winter")], "/name") },
        Thing::whole(owner, "/suppression-policy", [soft(7), soft(8)], "/soft_bounces"),
        Thing { path: "/destinations/harbor.test".to_owned(), ..limited },
        Thing::whole(admin, "/sending", [paused("a drill"), paused("another")], "/reason"),
    ]
}

#[tokio::test]
async fn what_a_client_has_is_not_sent_again() {
    let shop = Shop::new().await;
    for thing in things(&shop).await {
        let Thing { who, path, .. } = &thing;
        let known = tag(&thing.told(&shop).await);
        for condition in [known.clone(), format!("\"other\", W/{known}"), "*".to_owned()] {
            let again = ask(&shop.app, who, Method::GET, path, ("if-none-match", &condition), None).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path} {condition}");
            assert_eq!(tag(&again), known);
        }
        let changed = thing.change(&shop, "*", &thing.bodies[0]).await;
        let again = ask(&shop.app, who, Method::GET, path, ("if-none-match", &known), None).await;
        assert_eq!(again.expect(200), changed.json(), "{path}");
        assert_eq!(tag(&again), tag(&changed), "{path}");
        assert_ne!(tag(&again), known, "{path}");
    }
}

#[tokio::test]
async fn of_two_changes_that_expect_the_same_version_exactly_one_is_made() {
    let shop = Shop::new().await;
    for thing in things(&shop).await {
        let (path, [one, two]) = (&thing.path, &thing.bodies);
        let known = tag(&thing.told(&shop).await);
        let (first, second) = tokio::join!(thing.change(&shop, &known, one), thing.change(&shop, &known, two));
        let mut statuses = [first.status.as_u16(), second.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "{path}");
        let won = if first.status == 200 { one } else { two };
        assert_eq!(thing.told(&shop).await.expect(200).pointer(thing.tells), won.pointer(thing.tells), "{path}");
        if thing.goes {
            ask(&shop.app, thing.who, Method::DELETE, path, ("if-match", &known), None).await.problem(412);
        }
        for condition in ["\"nonsense\"", "W/\"1-2\"", ""] {
            thing.change(&shop, condition, two).await.problem(412);
        }
        assert_eq!(thing.told(&shop).await.expect(200).pointer(thing.tells), won.pointer(thing.tells), "{path}");
    }
}

#[tokio::test]
async fn a_change_may_expect_anything_or_one_of_several() {
    let shop = Shop::new().await;
    for thing in things(&shop).await {
        let (path, [one, two]) = (&thing.path, &thing.bodies);
        let (method, at) = thing.change.clone();
        shop.app.call(Some(thing.who), method, &at, Some(one.clone())).await.expect(200);
        thing.change(&shop, "*", two).await.expect(200);
        let several = format!("\"1-2\", {}", tag(&thing.told(&shop).await));
        let changed = thing.change(&shop, &several, one).await;
        changed.expect(200);
        if thing.goes {
            let gone = ask(&shop.app, thing.who, Method::DELETE, path, ("if-match", &tag(&changed)), None).await;
            assert_eq!(gone.status, 204, "{path}");
        }
    }
}

#[tokio::test]
async fn a_sending_domain_goes_only_as_what_it_was_when_it_was_looked_at() {
    let shop = Shop::new().await;
    let made = shop.app.post(&shop.owner, "/sending-domains", json!({ "domain": "autumn.test" })).await.expect(201);
    let path = format!("/sending-domains/{}", text(&made["id"]));
    let known = tag(&shop.app.get(&shop.owner, &path).await);
    let same = ask(&shop.app, &shop.owner, Method::GET, &path, ("if-none-match", &known), None).await;
    assert_eq!(same.status, 304);
    shop.app.stage.execute("UPDATE sending_domains SET state = 'verified', updated_at = clock_timestamp()").await;
    let seen = ask(&shop.app, &shop.owner, Method::GET, &path, ("if-none-match", &known), None).await;
    assert_eq!(seen.expect(200)["state"], "verified");
    ask(&shop.app, &shop.owner, Method::DELETE, &path, ("if-match", &known), None).await.problem(412);
    let gone = ask(&shop.app, &shop.owner, Method::DELETE, &path, ("if-match", &tag(&seen)), None).await;
    assert_eq!(gone.status, 204);
}

#[tokio::test]
async fn replies_that_slow_a_destination_down_leave_the_version_of_its_limits() {
    let shop = Shop::new().await;
    let (path, limits) = ("/destinations/harbor.test", "/destinations/harbor.test/limits");
    let body = json!({ "max_connections": 3 });
    let set = ask(&shop.app, &shop.admin, Method::PUT, limits, ("if-match", "*"), Some(&body)).await;
    set.expect(200);
    shop.app
        .stage
        .execute("UPDATE destinations SET adaptive_rate = 2, last_reply = '451 later', updated_at = clock_timestamp()")
        .await;
    assert_ne!(tag(&shop.app.get(&shop.admin, path).await), tag(&set), "it tells something else");
    ask(&shop.app, &shop.admin, Method::PUT, limits, ("if-match", &tag(&set)), Some(&body)).await.expect(200);
    ask(&shop.app, &shop.admin, Method::PUT, limits, ("if-match", &tag(&set)), Some(&body)).await.problem(412);
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
