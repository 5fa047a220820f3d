//! Speaks the server's REST API: the only way commands reach it.
//!
//! Owns authorization, pages and how a problem becomes a [`Failure`]. Never retries: whoever
//! called sees what happened.

use std::{path::Path, time::Duration};

use bytes::{Bytes, BytesMut};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use url::Url;

use super::output::{Exit, Failure, field};

/// Longest response read: lists of large events fit, a runaway server does not.
const MAX_RESPONSE: usize = 64 << 20;
/// Uploading a plugin compiles it, which takes longest of all requests.
const TIMEOUT: Duration = Duration::from_secs(120);
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(330);
/// Copying and sending a large database may take hours.
const STREAM_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The API's own bound on a page.
const PAGE: usize = 200;

/// A server, a key and an application.
#[derive(Debug, Clone)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    key: Option<String>,
    application: Option<String>,
}

/// One page of a list.
#[derive(Deserialize)]
struct Page<T> {
    data: Vec<T>,
    next_cursor: Option<String>,
}

/// Query parameters; those without a value are left out.
pub(super) type Query<'a> = [(&'a str, Option<String>)];

impl Client {
    pub(super) fn new(
        url: &str,
        key: Option<&str>,
        application: Option<&str>,
    ) -> Result<Self, Failure> {
        Self::trusting(url, key, application, None)
    }

    /// The same, of a server whose certificate may be signed by authorities of a file, too.
    pub(super) fn trusting(
        url: &str,
        key: Option<&str>,
        application: Option<&str>,
        authorities: Option<&Path>,
    ) -> Result<Self, Failure> {
        let base: Url = url
            .parse()
            .map_err(|error| Failure::usage(format!("{url:?} is not a URL: {error}")))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err(Failure::usage(format!("{url:?} is not an http or https URL"))
                .hint("set HOOKMILL_URL, for example http://127.0.0.1:8080"));
        }
        let http = reqwest::Client::builder()
            .user_agent(concat!("hookmill-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(TIMEOUT)
            .tls_certs_merge(authorities.map(certificates).transpose()?.unwrap_or_default())
            .build()
            .map_err(|error| Failure::failed(format!("cannot make an HTTP client: {error}")))?;
        Ok(Self { http, base, key: key.map(Into::into), application: application.map(Into::into) })
    }

    /// The same server and key, for another application; for none of its own choosing if not
    /// told.
    pub(super) fn acting_for(&self, application: Option<&str>) -> Self {
        let application = application.map(Into::into).or_else(|| self.application.clone());
        Self { application, ..self.clone() }
    }

    /// The server's own OpenAPI document.
    pub(super) async fn openapi(&self) -> Result<Value, Failure> {
        let mut url = self.base.clone();
        // `new` has checked that the URL is a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("openapi.json");
        }
        self.json(self.http.get(url)).await
    }

    /// Whether the server takes requests.
    pub(super) async fn ready(&self) -> Result<(), Failure> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("readyz");
        }
        self.answer(self.http.get(url)).await.map(drop)
    }

    pub(super) async fn get(&self, path: &[&str], query: &Query<'_>) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path).query(&given(query))).await
    }

    /// GET of what can be changed, and the tag of the state it is in.
    pub(super) async fn get_tagged(&self, path: &[&str]) -> Result<(Value, String), Failure> {
        let response = self.sent(self.request(Method::GET, path)).await?;
        let tag = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
        let tag = tag.unwrap_or("*").to_owned();
        let (_, body) = self.whole(response).await?;
        Ok((self.parse(&body)?, tag))
    }

    /// PUT to what is in the state of this tag.
    pub(super) async fn put_if(
        &self,
        path: &[&str],
        tag: &str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::PUT, path).header(header::IF_MATCH, tag).json(body);
        self.json(request).await
    }

    /// The body as it is.
    pub(super) async fn get_bytes(&self, path: &[&str]) -> Result<Bytes, Failure> {
        self.download(path, &[]).await
    }

    /// The body as it is, of what the query says.
    pub(super) async fn download(
        &self,
        path: &[&str],
        query: &Query<'_>,
    ) -> Result<Bytes, Failure> {
        self.exchange(self.request(Method::GET, path).query(&given(query))).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.request(Method::POST, path).json(body)).await
    }

    /// POST with a query; a null body is none.
    pub(super) async fn post_for(
        &self,
        path: &[&str],
        query: &Query<'_>,
        body: &Value,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).query(&given(query));
        let request = if body.is_null() { request } else { request.json(body) };
        self.json(request).await
    }

    /// POST of a JSON text, exactly as it is.
    pub(super) async fn post_text(&self, path: &[&str], body: String) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).body(body);
        self.json(request.header(header::CONTENT_TYPE, "application/json")).await
    }

    /// POST of a body of some other type.
    pub(super) async fn post_bytes(
        &self,
        path: &[&str],
        query: &Query<'_>,
        content_type: &str,
        body: Vec<u8>,
    ) -> Result<Value, Failure> {
        let request = self.request(Method::POST, path).query(&given(query)).body(body);
        self.json(request.header(header::CONTENT_TYPE, content_type)).await
    }

    /// PATCH with a JSON text, sent as it is.
    pub(super) async fn patch_text(&self, path: &[&str], body: String) -> Result<Value, Failure> {
        let request = self.request(Method::PATCH, path).body(body);
        self.json(request.header(header::CONTENT_TYPE, "application/json")).await
    }

    /// POST without a body.
    pub(super) async fn act(&self, path: &[&str]) -> Result<Value, Failure> {
        self.json(self.request(Method::POST, path)).await
    }

    /// POST of a WebAssembly component or module.
    pub(super) async fn upload(
        &self,
        path: &[&str],
        query: &Query<'_>,
        wasm: Vec<u8>,
    ) -> Result<Value, Failure> {
        self.upload_new(path, query, wasm).await.map(|(answer, _)| answer)
    }

    /// POST of a WebAssembly component or module; also whether the server did not have it.
    pub(super) async fn upload_new(
        &self,
        path: &[&str],
        query: &Query<'_>,
        wasm: Vec<u8>,
    ) -> Result<(Value, bool), Failure> {
        let request = self.request(Method::POST, path).query(&given(query)).body(wasm);
        // A language engine on a busy server takes its time.
        let request =
            request.header(header::CONTENT_TYPE, "application/wasm").timeout(UPLOAD_TIMEOUT);
        let (status, body) = self.answer(request).await?;
        Ok((self.parse(&body)?, status == StatusCode::CREATED))
    }

    pub(super) async fn put(
        &self,
        path: &[&str],
        query: &Query<'_>,
        body: &Value,
    ) -> Result<Value, Failure> {
        self.json(self.request(Method::PUT, path).query(&given(query)).json(body)).await
    }

    pub(super) async fn patch(&self, path: &[&str], body: &Value) -> Result<Value, Failure> {
        self.json(self.request(Method::PATCH, path).json(body)).await
    }

    pub(super) async fn delete(&self, path: &[&str], query: &Query<'_>) -> Result<(), Failure> {
        self.exchange(self.request(Method::DELETE, path).query(&given(query))).await.map(drop)
    }

    /// POST without a body, for an answer that is taken piece by piece, however long that takes.
    pub(super) async fn stream(&self, path: &[&str]) -> Result<Response, Failure> {
        self.piecewise(self.request(Method::POST, path)).await
    }

    /// GET of an answer that has no end.
    pub(super) async fn watch(
        &self,
        path: &[&str],
        query: &Query<'_>,
        header: Option<(&str, &str)>,
    ) -> Result<Response, Failure> {
        let mut request = self.request(Method::GET, path).query(&given(query));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.piecewise(request).await
    }

    async fn piecewise(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .timeout(STREAM_TIMEOUT)
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = read(response).await.unwrap_or_default();
        Err(self.refused(status, &body))
    }

    /// The first `limit` items of a list, following its pages.
    pub(super) async fn list(
        &self,
        path: &[&str],
        query: &Query<'_>,
        limit: usize,
    ) -> Result<Vec<Value>, Failure> {
        self.list_of(path, query, limit).await
    }

    /// The same, each read as something else: a number in a [`Value`] may be rounded.
    pub(super) async fn list_of<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &Query<'_>,
        limit: usize,
    ) -> Result<Vec<T>, Failure> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let wanted = (limit - items.len()).min(PAGE);
            let mut query = query.to_vec();
            query.push(("limit", Some(wanted.to_string())));
            query.push(("cursor", cursor.take()));
            let body = self.exchange(self.request(Method::GET, path).query(&given(&query))).await?;
            let page: Page<T> = self.page(&body)?;
            let empty = page.data.is_empty();
            items.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() || empty || items.len() >= limit {
                items.truncate(limit);
                return Ok(items);
            }
        }
    }

    fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        // `new` has checked that the URL is a base.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().push("v1").extend(path);
        }
        let mut request = self.http.request(method, url);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        if let Some(application) = &self.application {
            request = request.header("hookmill-application", application);
        }
        request
    }

    async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        self.parse(&self.exchange(request).await?)
    }

    fn parse(&self, body: &[u8]) -> Result<Value, Failure> {
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(body).map_err(|error| self.not_json(&error))
    }

    /// A page of a list. A plain array is a list that has no pages.
    fn page<T: DeserializeOwned>(&self, body: &[u8]) -> Result<Page<T>, Failure> {
        let page = if body.trim_ascii_start().starts_with(b"[") {
            serde_json::from_slice(body).map(|data| Page { data, next_cursor: None })
        } else {
            serde_json::from_slice(body)
        };
        page.map_err(|error| {
            if error.is_data() {
                return Failure::failed("the server's answer is not a list");
            }
            self.not_json(&error)
        })
    }

    fn not_json(&self, error: &serde_json::Error) -> Failure {
        Failure::failed(format!("the server's answer is not JSON: {error}"))
            .hint(format!("is {} a Hookmill server?", self.base))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Bytes, Failure> {
        self.answer(request).await.map(|(_, body)| body)
    }

    async fn answer(&self, request: RequestBuilder) -> Result<(StatusCode, Bytes), Failure> {
        self.whole(self.sent(request).await?).await
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Failure> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    /// An answer's body, if it is no refusal.
    async fn whole(&self, response: Response) -> Result<(StatusCode, Bytes), Failure> {
        let status = response.status();
        let body = read(response).await.map_err(|error| match error {
            ReadError::Transport(error) => self.unreachable(&error),
            ReadError::TooLarge => {
                Failure::failed(format!("the server's answer is over {} MiB", MAX_RESPONSE >> 20))
            }
        })?;
        if status.is_success() { Ok((status, body)) } else { Err(self.refused(status, &body)) }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        if error.is_builder() {
            return Failure::usage(format!("the request cannot be made: {cause}"));
        }
        let failure =
            Failure::new(Exit::Unreachable, format!("no server answers at {}: {cause}", self.base));
        failure.hint("start one with `hookmill serve`, or set HOOKMILL_URL to one that runs")
    }

    fn refused(&self, status: StatusCode, body: &[u8]) -> Failure {
        let problem: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(title) = problem["title"].as_str() else {
            let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
            let failure = Failure::new(Exit::Refused, format!("the server answered {status}"));
            return if text.is_empty() { failure } else { failure.line(text) };
        };
        let mut failure = Failure::new(Exit::Refused, title).problem(&field(&problem, "type"));
        if let Some(detail) = problem["detail"].as_str().filter(|&detail| detail != title) {
            failure = failure.line(detail);
        }
        for error in problem["errors"].as_array().into_iter().flatten() {
            failure = failure.line(format!("{}  {}", field(error, "at"), field(error, "message")));
        }
        if let Some(meant) = problem["did_you_mean"].as_str() {
            return failure.hint(format!("did you mean {meant}?"));
        }
        match status {
            StatusCode::UNAUTHORIZED if self.key.is_none() => {
                failure.hint("set HOOKMILL_KEY; the server printed its admin key when it first ran")
            }
            StatusCode::UNAUTHORIZED => failure.hint("HOOKMILL_KEY is not a key of this server"),
            _ => failure,
        }
    }
}

/// The authorities of a file.
fn certificates(file: &Path) -> Result<Vec<reqwest::Certificate>, Failure> {
    let name = file.display();
    let unusable = |why: &dyn std::fmt::Display| Failure::usage(format!("--ca-file {name} {why}"));
    let pem = std::fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read --ca-file {name}: {error}")))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| unusable(&error))?;
    if found.is_empty() {
        return Err(unusable(&"has no certificate; PEM blocks \"CERTIFICATE\" are expected"));
    }
    Ok(found)
}

fn given<'a>(query: &'a Query<'a>) -> Vec<(&'a str, &'a str)> {
    query.iter().filter_map(|(name, value)| Some((*name, value.as_deref()?))).collect()
}

enum ReadError {
    Transport(reqwest::Error),
    TooLarge,
}

/// The body, at most [`MAX_RESPONSE`] of it.
async fn read(mut response: Response) -> Result<Bytes, ReadError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(ReadError::Transport)? {
        if body.len() + chunk.len() > MAX_RESPONSE {
            return Err(ReadError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::{
        Mock, MockServer, ResponseTemplate,
        matchers::{header, method, path, query_param, query_param_is_missing},
    };

    use super::*;

    fn client(url: &str) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Client::new(url, Some("hmk_x"), Some("shop")).unwrap()
    }

    #[tokio::test]
    async fn a_problem_is_told_with_its_fields_and_suggestion() {
        let server = MockServer::start().await;
        let problem = json!({"title": "There is no event type a.c", "detail": "More.", "status": 400,
            "errors": [{"at": "/type", "message": "unknown"}], "did_you_mean": "a.b"});
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(400).set_body_json(problem))
            .mount(&server)
            .await;
        let failure = client(&server.uri()).post(&["events"], &json!({})).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Refused);
        assert_eq!(
            failure.text(),
            "error: There is no event type a.c\n  More.\n  /type  unknown\nhint: did you mean a.b?\n"
        );
    }

    #[tokio::test]
    async fn no_server_is_another_exit_code_than_a_refusal() {
        let failure = client("http://127.0.0.1:9").get(&["events"], &[]).await.unwrap_err();
        assert_eq!(failure.exit(), Exit::Unreachable);
        assert!(failure.text().contains("hint: start one"), "{}", failure.text());
    }

    #[tokio::test]
    async fn lists_follow_their_pages_with_key_and_application() {
        let server = MockServer::start().await;
        let page = |items: Value, next: Value| {
            ResponseTemplate::new(200).set_body_json(json!({"data": items, "next_cursor": next}))
        };
        Mock::given(path("/v1/event-types/a%2Fb"))
            .and(header("authorization", "Bearer hmk_x"))
            .and(header("hookmill-application", "shop"))
            .and(query_param_is_missing("cursor"))
            .respond_with(page(json!([1, 2]), json!("c2")))
            .mount(&server)
            .await;
        Mock::given(query_param("cursor", "c2"))
            .respond_with(page(json!([3, 4]), Value::Null))
            .mount(&server)
            .await;
        let items = client(&server.uri()).list(&["event-types", "a/b"], &[], 3).await.unwrap();
        assert_eq!(items, [1, 2, 3]);
    }

    #[test]
    fn only_http_urls_are_servers() {
        for bad in ["nonsense", "ftp://x", "mailto:a@b.example"] {
            let failure = Client::new(bad, None, None).unwrap_err();
            assert_eq!(failure.exit(), Exit::Usage, "{bad}");
        }
    }
}
