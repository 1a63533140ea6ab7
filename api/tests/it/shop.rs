//! A workspace with somebody to write to, a way to write, and a campaign.

use serde_json::{Value, json};

use crate::app::{Person, TestApp};

/// The front, an admin with a route, and a client with a list of two contacts.
pub struct Shop {
    pub app: TestApp,
    pub admin: Person,
    pub owner: Person,
    pub list_id: String,
    pub route_id: String,
    pub contact_ids: Vec<String>,
}

impl Shop {
    pub async fn new() -> Self {
        let app = TestApp::new().await;
        let (admin, owner) = (app.admin().await, app.somebody().await);
        let route = json!({"name": "relay", "kind": "relay", "url": "smtp://127.0.0.1:2525", "tls": "none", "max_connections": 10, "weight": 1});
        let route_id = text(&app.post(&admin, "/routes", route).await.expect(201)["id"]);
        app.stage.verified_domain(owner.workspace_id, "shop.test").await;
        let list_id = text(&app.post(&owner, "/lists", json!({"name": "Customers"})).await.expect(201)["id"]);
        let mut shop = Self { app, admin, owner, list_id, route_id, contact_ids: Vec::new() };
        for (email, name) in [("ada@one.test", "Ada"), ("zoe@two.test", "Zoë <b>")] {
            let contact = json!({"email": email, "name": name, "attributes": {"city": "Genève"}, "list_ids": [shop.list_id]});
            let id = text(&shop.app.post(&shop.owner, "/contacts", contact).await.expect(201)["id"]);
            shop.contact_ids.push(id);
        }
        shop
    }

    /// The body of a good campaign.
    pub fn draft(&self) -> Value {
        json!({
            "name": "Spring",
            "subject": "Hi {{ contact.name }}",
            "from": {"name": "Shop", "email": "News@Shop.test"},
            "html": "<p>Hi {{ contact.name }} in {{ contact.attributes.city }}</p><a href=\"{{ unsubscribe_url }}\">stop</a>",
            "list_ids": [self.list_id],
        })
    }

    /// Makes the campaign.
    pub async fn campaign(&self) -> String {
        text(&self.app.post(&self.owner, "/campaigns", self.draft()).await.expect(201)["id"])
    }

    /// Puts a launched campaign into a state, as a worker would.
    pub async fn put_into(&self, campaign: &str, state: &str) {
        self.app.stage.arrange(format!("UPDATE campaigns SET state = '{state}' WHERE id = '{campaign}'")).await;
    }

    /// Freezes the audience of two and writes their deliveries in these states, as a worker would.
    pub async fn deliver(&self, campaign: &str, states: [&str; 2]) {
        let [ada, zoe] = [&self.contact_ids[0], &self.contact_ids[1]];
        self.app
            .stage
            .arrange(format!(
                "UPDATE campaigns SET audience = 2, launch_counted = 2, launched_at = now() - interval '1 minute' WHERE id = '{campaign}';
                 INSERT INTO chunks (id, campaign_id, contact_ids) VALUES (uuid_v7(), '{campaign}', ARRAY['{ada}', '{zoe}']::uuid[])"
            ))
            .await;
        for (contact, email, state) in [(ada, "ada@one.test", states[0]), (zoe, "zoe@two.test", states[1])] {
            if state == "pending" {
                continue;
            }
            let domain = email.split_once('@').expect("an address").1;
            self.app
                .stage
                .arrange(format!(
                    "INSERT INTO deliveries (campaign_id, contact_id, chunk_id, lease_epoch, attempt_id, state, attempts, recipient, domain,
                                             smtp_code, enhanced_code, response, first_attempt_at, last_attempt_at)
                     SELECT '{campaign}', '{contact}', id, 1, 1, '{state}', 1, '{email}', '{domain}', 250, '2.0.0',
                            '250 2.0.0 \"ok\", queued', now(), now() FROM chunks WHERE campaign_id = '{campaign}' LIMIT 1"
                ))
                .await;
        }
    }

    /// Jobs of this kind in the table.
    pub async fn jobs(&self, kind: &str) -> i64 {
        let page = self.app.get(&self.admin, &format!("/jobs?kind={kind}")).await.expect(200);
        page["pagination"]["total"].as_i64().expect("a number")
    }
}

/// A JSON string.
pub fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
