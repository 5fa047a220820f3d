//! A client for the REST API that hides nothing: status, headers and body as they came.

use bytes::Bytes;
use reqwest::{Method, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use tokio::time::{Instant, interval};

use crate::PATIENCE;

/// Speaks to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON of an answer that must be of this status.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// The last part of a problem's type; empty if this is no problem.
    pub fn problem(&self) -> String {
        let is_problem = self
            .headers
            .get("content-type")
            .is_some_and(|value| value.as_bytes() == b"application/problem+json");
        let body = self.json();
        let kind = body["type"].as_str().unwrap_or_default();
        if is_problem {
            kind.rsplit('/').next().unwrap_or_default().to_owned()
        } else {
            String::new()
        }
    }
}

impl Client {
    /// A client for the server at `url`.
    pub fn new(url: &str, key: Option<&str>) -> Self {
        // Nothing here speaks TLS, but reqwest shares its features with the server's, and wants
        // to be told which cryptography it would use. A second call changes nothing.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().expect("a client can be made");
        Self { http, url: url.to_owned(), key: key.map(str::to_owned) }
    }

    /// The same server with another key, or none.
    #[must_use]
    pub fn with_key(&self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self.clone() }
    }

    /// Sends a request as it is.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.expect("the server answers")
    }

    /// Sends a request to a server that may be gone.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, reqwest::Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request =
            self.http.request(method, format!("{}{path}", self.url)).body(body.into());
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await?;
        let status = StatusCode::as_u16(&response.status());
        let headers = response.headers().clone();
        Ok(Answer { status, headers, body: response.bytes().await? })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, &[], "").await
    }

    /// Uploads a plugin.
    pub async fn upload(&self, wasm: impl Into<Bytes>) -> Answer {
        self.send("POST", "/v1/plugins", &[("content-type", "application/wasm")], wasm).await
    }

    /// Uploads a plugin without making it live.
    pub async fn upload_candidate(&self, wasm: impl Into<Bytes>) -> Answer {
        let headers = [("content-type", "application/wasm")];
        self.send("POST", "/v1/plugins?live=false", &headers, wasm).await
    }

    /// Makes an event type without a schema.
    pub async fn event_type(&self, name: &str) {
        self.post("/v1/event-types", &json!({"name": name})).await.expect(201);
    }

    /// Publishes an event and answers its receipt.
    pub async fn publish(&self, kind: &str, payload: &Value) -> Value {
        self.post("/v1/events", &json!({"type": kind, "payload": payload})).await.expect(202)
    }

    /// Makes a subscription; answers its id and secret.
    pub async fn subscribe(
        &self,
        endpoint: &str,
        patterns: &[&str],
        pipeline: &Value,
    ) -> (String, String) {
        let body = json!({"endpoint": endpoint, "event_types": patterns, "pipeline": pipeline});
        let made = self.post("/v1/subscriptions", &body).await.expect(201);
        let text = |field: &str| made[field].as_str().expect("a text").to_owned();
        (text("id"), text("secret"))
    }

    /// Asks for `path` until `done` says so; answers that last answer.
    pub async fn wait_for(&self, path: &str, done: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut ticks = interval(std::time::Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let answer = self.get(path).await.json();
            if done(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "{path} never got there: {answer:#}");
        }
    }

    /// The only delivery of an event, once it is in one of `states`.
    pub async fn delivery_in(&self, event: &str, states: &[&str]) -> Value {
        let path = format!("/v1/deliveries?event_id={event}");
        let list = self
            .wait_for(&path, |list| {
                list["data"][0]["state"].as_str().is_some_and(|state| states.contains(&state))
            })
            .await;
        let id = list["data"][0]["id"].as_str().expect("an id").to_owned();
        self.get(&format!("/v1/deliveries/{id}")).await.expect(200)
    }
}
