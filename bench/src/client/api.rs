//! The public API as a person with a token uses it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use reqwest::{Method, RequestBuilder, StatusCode, multipart};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    answers::{Import, Job, Made, Page, Progress, Route},
    domains,
};

/// Who speaks to which server.
#[derive(Clone, clap::Args)]
pub struct Login {
    /// Where the API listens.
    #[arg(long, env = "MOCHILA_URL", hide_env_values = true)]
    pub url: String,
    /// The admin's address.
    #[arg(long, env = "MOCHILA_ADMIN_EMAIL", hide_env_values = true)]
    pub email: String,
    /// The admin's password.
    #[arg(long, env = "MOCHILA_ADMIN_PASSWORD", hide_env_values = true)]
    pub password: String,
}

/// A logged-in client.
#[derive(Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    token: String,
    workspace: Option<Uuid>,
    /// The domain that campaigns come from, once one was needed.
    sender: Arc<OnceCell<String>>,
}

impl Api {
    /// Logs in.
    ///
    /// # Errors
    /// The server does not answer, or refuses.
    pub async fn login(login: &Login) -> Result<Self> {
        #[derive(serde::Deserialize)]
        struct Tokens {
            access_token: String,
        }
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()
            .context("failed to set up an HTTP client")?;
        let base = format!("{}/api/v1", login.url.trim_end_matches('/'));
        let mut api = Self { http, base, token: String::new(), workspace: None, sender: Arc::default() };
        let tokens: Tokens = api.post("/auth/login", &json!({"email": login.email, "password": login.password})).await?;
        api.token = tokens.access_token;
        Ok(api)
    }

    /// What the server is asked with: for tools that ask by themselves.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The address of a path below `/api/v1`.
    #[must_use]
    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if !self.token.is_empty() {
            request = request.bearer_auth(&self.token);
        }
        if let Some(workspace) = self.workspace {
            request = request.header("X-Workspace-Id", workspace.to_string());
        }
        request
    }

    /// GET.
    ///
    /// # Errors
    /// Anything but a 2xx with the expected shape; the problem document is in the message.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        answer(self.request(Method::GET, path), "GET", path).await
    }

    /// POST of a JSON body.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        answer(self.request(Method::POST, path).json(body), "POST", path).await
    }

    /// PATCH of a JSON body, whatever it answers.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn patch(&self, path: &str, body: &Value) -> Result<()> {
        answer::<Value>(self.request(Method::PATCH, path).json(body), "PATCH", path).await.map(drop)
    }

    /// Makes a workspace and acts in it from now on; a server without this endpoint keeps the caller's own.
    ///
    /// # Errors
    /// The server refused.
    pub async fn move_to_new_workspace(&mut self, name: &str) -> Result<()> {
        let response = self.request(Method::POST, "/workspaces").json(&json!({"name": name})).send().await?;
        if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
            return Ok(());
        }
        let made: Made = read(response, "POST", "/workspaces").await?;
        *self = self.in_workspace(made.id);
        Ok(())
    }

    /// The same person, acting in another workspace.
    #[must_use]
    pub fn in_workspace(&self, workspace: Uuid) -> Self {
        Self { workspace: Some(workspace), sender: Arc::default(), ..self.clone() }
    }

    /// The sender of campaigns: an address of a verified domain, which is claimed when it is first needed.
    async fn sender(&self) -> Result<Value> {
        let domain = self.sender.get_or_try_init(|| domains::verified(self)).await?;
        Ok(json!({"name": "Orchard & Harbor", "email": format!("news@{domain}")}))
    }

    /// Makes a list.
    ///
    /// # Errors
    /// The server refused.
    pub async fn new_list(&self, name: &str) -> Result<Uuid> {
        Ok(self.post::<Made>("/lists", &json!({"name": name})).await?.id)
    }

    /// Uploads a contact file into a list.
    ///
    /// # Errors
    /// The server refused.
    pub async fn import(&self, list: Uuid, file: multipart::Part) -> Result<Import> {
        let form = multipart::Form::new().text("target", "contacts").text("list_id", list.to_string()).part("file", file);
        answer(self.request(Method::POST, "/imports").timeout(Duration::from_secs(600)).multipart(form), "POST", "/imports").await
    }

    /// A job.
    ///
    /// # Errors
    /// The server refused.
    pub async fn job(&self, id: Uuid) -> Result<Job> {
        self.get(&format!("/jobs/{id}")).await
    }

    /// Uploads `csv` into a new list and waits until it is loaded.
    ///
    /// # Errors
    /// The import failed, or took longer than `patience`.
    pub async fn load_list(&self, name: &str, csv: Vec<u8>, patience: Duration) -> Result<Uuid> {
        let list = self.new_list(name).await?;
        let file = multipart::Part::bytes(csv).file_name("contacts.csv").mime_str("text/csv")?;
        let import = self.import(list, file).await?;
        let begun = Instant::now();
        loop {
            let job = self.job(import.job_id).await?;
            if job.state == "succeeded" {
                return Ok(list);
            }
            if job.is_over() {
                bail!("the import into {name} ended {}: {}", job.state, job.error);
            }
            if begun.elapsed() > patience {
                bail!("the import into {name} is still {} after {} s", job.state, patience.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The route to `url`, with so many connections; made if there is none.
    ///
    /// # Errors
    /// The server refused.
    pub async fn route_to(&self, url: &str, max_connections: usize) -> Result<Uuid> {
        let routes: Page<Route> = self.get("/routes?limit=100").await?;
        if let Some(route) = routes.data.iter().find(|route| route.url.trim_end_matches('/') == url.trim_end_matches('/')) {
            self.patch(&format!("/routes/{}", route.id), &json!({"max_connections": max_connections})).await?;
            return Ok(route.id);
        }
        let name = url.split("://").last().unwrap_or(url).trim_end_matches('/');
        let body = json!({"name": format!("relay {name}"), "kind": "relay", "url": url, "tls": "none",
                          "max_connections": max_connections, "weight": 1});
        Ok(self.post::<Made>("/routes", &body).await?.id)
    }

    /// Makes a draft to a list over a route.
    ///
    /// # Errors
    /// The server refused.
    pub async fn new_campaign(&self, name: &str, list: Uuid, route: Uuid, subject: &str, html: &str) -> Result<Uuid> {
        let from = self.sender().await?;
        let body = json!({"name": name, "subject": subject, "from": from, "html": html, "list_ids": [list], "route_id": route});
        Ok(self.post::<Made>("/campaigns", &body).await?.id)
    }

    /// Makes a draft to a list that pins no route.
    ///
    /// # Errors
    /// The server refused.
    pub async fn new_free_campaign(&self, name: &str, list: Uuid, subject: &str, html: &str) -> Result<Uuid> {
        let from = self.sender().await?;
        let body = json!({"name": name, "subject": subject, "from": from, "html": html, "list_ids": [list]});
        Ok(self.post::<Made>("/campaigns", &body).await?.id)
    }

    /// Changes something: `PATCH` or `PUT`.
    ///
    /// # Errors
    /// The server refused.
    pub async fn change(&self, method: Method, path: &str, body: &Value) -> Result<Value> {
        let name = method.to_string();
        answer(self.request(method, path).json(body), &name, path).await
    }

    /// `send`, `pause`, `resume`, `cancel`: something that is asked of a campaign.
    ///
    /// # Errors
    /// The server refused.
    pub async fn ask(&self, campaign: Uuid, verb: &str) -> Result<()> {
        let _: Value = self.post(&format!("/campaigns/{campaign}/{verb}"), &json!({})).await?;
        Ok(())
    }

    /// Where a campaign stands.
    ///
    /// # Errors
    /// No answer within 5 s, or a refusal.
    pub async fn progress(&self, campaign: Uuid) -> Result<Progress> {
        let path = format!("/campaigns/{campaign}/progress");
        answer(self.request(Method::GET, &path).timeout(Duration::from_secs(5)), "GET", &path).await
    }
}

async fn answer<T: DeserializeOwned>(request: RequestBuilder, method: &str, path: &str) -> Result<T> {
    let response = request.send().await.with_context(|| format!("{method} {path} was not answered"))?;
    read(response, method, path).await
}

async fn read<T: DeserializeOwned>(response: reqwest::Response, method: &str, path: &str) -> Result<T> {
    let status = response.status();
    let body = response.text().await.with_context(|| format!("the answer to {method} {path} broke off"))?;
    if !status.is_success() {
        bail!("{method} {path} was answered {status}: {body}");
    }
    serde_json::from_str(&body).with_context(|| format!("the answer to {method} {path} has another shape: {body}"))
}
