//! Sends finished spans to a collector: OTLP over HTTP, in its JSON form.
//!
//! Owns the queue of spans, their batches and their wire form. A collector that is slow or
//! down costs spans, counted, and never anything else.

use std::time::Duration;

use reqwest::{
    Client, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use serde_json::{Value as Json, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};
use url::Url;

use super::trace::{self, Finished, Tracer, Value};

/// Most spans that wait.
const QUEUE: usize = 8_192;
/// Most spans in one request.
const BATCH: usize = 512;
/// How long a batch gathers.
const LINGER: Duration = Duration::from_millis(500);
/// How long a request may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a batch is tried, and how long after a failure it is tried again.
const TRIES: u32 = 3;
const AGAIN: Duration = Duration::from_secs(1);
/// How long, at the end, the collector is given to take the last spans.
const FLUSH: Duration = Duration::from_secs(3);
/// Where a collector takes traces.
const PATH: &str = "/v1/traces";

/// What is to be done, in its order.
pub(super) enum Item {
    Span(Finished),
    Flush(oneshot::Sender<()>),
}

/// Where spans go and how many.
#[derive(Debug, Clone)]
pub struct OtlpSettings {
    /// The collector.
    pub endpoint: Url,
    /// Headers of each request, such as a key.
    pub headers: Vec<(String, String)>,
    /// The share of new traces that is recorded, 0 to 1.
    pub ratio: f64,
}

/// The way to the collector.
#[derive(Debug)]
pub struct Exporter(mpsc::Sender<Item>);

impl Exporter {
    /// Starts to record spans and send them.
    pub fn start(settings: OtlpSettings) -> Result<Self, String> {
        // Fails if another was installed before: then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(PATIENCE)
            .default_headers(headers(&settings.headers)?)
            .build()
            .map_err(|error| format!("{error:?}"))?;
        let (sender, items) = mpsc::channel(QUEUE);
        let tracer = Tracer { finished: sender.clone(), ratio: settings.ratio };
        if !trace::install(tracer) {
            tracing::debug!("tracing was set up before");
        }
        let task = Task { client, url: address(settings.endpoint), is_down: false };
        tokio::spawn(task.run(items));
        Ok(Self(sender))
    }

    /// Sends what waits, as far as that can be done soon.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        let asked = async {
            if self.0.send(Item::Flush(done)).await.is_ok() {
                // An error says that the task is gone, and with it what there was to send.
                let _ = flushed.await;
            }
        };
        if timeout(FLUSH, asked).await.is_err() {
            tracing::warn!("the last spans could not be sent");
        }
    }
}

/// The collector's address for traces, if not given as such.
fn address(mut endpoint: Url) -> Url {
    let path = endpoint.path().trim_end_matches('/').to_owned();
    if !path.ends_with(PATH) {
        endpoint.set_path(&format!("{path}{PATH}"));
    }
    endpoint
}

fn headers(given: &[(String, String)]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let parsed = (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str()));
        let (Ok(parsed), Ok(mut value)) = parsed else {
            return Err(format!("otlp_headers: {name} is no header, or its value cannot be sent"));
        };
        value.set_sensitive(true);
        headers.insert(parsed, value);
    }
    Ok(headers)
}

struct Task {
    client: Client,
    url: Url,
    is_down: bool,
}

impl Task {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) {
        let mut batch = Vec::with_capacity(BATCH);
        while let Some(first) = items.recv().await {
            let mut flushed = Vec::new();
            let mut take = |item, batch: &mut Vec<Finished>| match item {
                Item::Span(span) => batch.push(span),
                Item::Flush(done) => flushed.push(done),
            };
            take(first, &mut batch);
            // A batch gathers until it is full, time is up, or somebody waits for it.
            let gathering = async {
                while batch.len() < BATCH {
                    let Some(item) = items.recv().await else { return };
                    let is_flush = matches!(item, Item::Flush(_));
                    take(item, &mut batch);
                    if is_flush {
                        return;
                    }
                }
            };
            // Either way the batch is sent as it is.
            let _ = timeout(LINGER, gathering).await;
            self.send(&batch).await;
            batch.clear();
            for done in flushed {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    async fn send(&mut self, batch: &[Finished]) {
        if batch.is_empty() {
            return;
        }
        let body = request(batch).to_string();
        let mut failure = String::new();
        for attempt in 1..=TRIES {
            match self.try_send(body.clone()).await {
                Ok(()) => {
                    if std::mem::take(&mut self.is_down) {
                        tracing::info!("the collector takes spans again");
                    }
                    metrics::counter!("hookmill_spans_exported_total")
                        .increment(batch.len() as u64);
                    return;
                }
                Err((why, again)) => {
                    failure = why;
                    if !again {
                        break;
                    }
                }
            }
            if attempt < TRIES {
                sleep(AGAIN * attempt).await;
            }
        }
        metrics::counter!("hookmill_spans_dropped_total").increment(batch.len() as u64);
        if !std::mem::replace(&mut self.is_down, true) {
            tracing::warn!(%failure, "the collector does not take spans; they are dropped until it does");
        }
    }

    /// What went wrong, and whether it may go right later.
    async fn try_send(&self, body: String) -> Result<(), (String, bool)> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json");
        let response = request.body(body).send().await;
        let status = response.map_err(|error| (error.to_string(), true))?.status();
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if status.is_success() {
            return Ok(());
        }
        Err((format!("it answered {status}"), again.contains(&status)))
    }
}

/// An export request in the JSON form of OTLP: ids in hexadecimal, large numbers as texts.
fn request(batch: &[Finished]) -> Json {
    let spans: Vec<Json> = batch.iter().map(span).collect();
    let resource = [
        ("service.name", Value::from("hookmill")),
        ("service.version", Value::from(env!("CARGO_PKG_VERSION"))),
    ];
    json!({"resourceSpans": [{
        "resource": {"attributes": attributes(&resource)},
        "scopeSpans": [{"scope": {"name": "hookmill"}, "spans": spans}],
    }]})
}

fn span(span: &Finished) -> Json {
    let hex = |id: [u8; 8]| format!("{:016x}", u64::from_be_bytes(id));
    let context = &span.context;
    let mut json = json!({
        "traceId": format!("{:032x}", u128::from_be_bytes(context.trace)),
        "spanId": hex(context.span),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start_ns.to_string(),
        "endTimeUnixNano": span.end_ns.to_string(),
        "attributes": attributes(&span.attributes),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = hex(parent).into();
    }
    if let Some(state) = &context.state {
        json["traceState"] = state.as_str().into();
    }
    if let Some(error) = &span.error {
        json["status"] = json!({"code": 2, "message": error});
    }
    json
}

fn attributes(all: &[(&'static str, Value)]) -> Vec<Json> {
    let value = |value: &Value| match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
    };
    all.iter().map(|(name, given)| json!({"key": name, "value": value(given)})).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{model::TraceContext, telemetry::trace::Kind};

    #[test]
    fn a_collectors_address_is_completed() {
        for (given, used) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
            ("https://otlp.example/otel/", "https://otlp.example/otel/v1/traces"),
            ("https://otlp.example/v1/traces", "https://otlp.example/v1/traces"),
        ] {
            assert_eq!(address(given.parse().unwrap()).as_str(), used);
        }
    }

    #[test]
    fn spans_have_the_form_that_collectors_read() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = Arc::new(TraceContext::parse(text, Some("a=1")).unwrap());
        let finished = Finished {
            name: "attempt",
            kind: Kind::Client,
            context,
            parent: Some([1; 8]),
            start_ns: 1_790_000_000_000_000_000,
            end_ns: 1_790_000_000_000_000_007,
            attributes: vec![("a", "b".into()), ("n", 7.into())],
            error: Some("refused".to_owned()),
        };
        let request = request(&[finished]);
        let found = &request["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(
            *found,
            json!({
                "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
                "spanId": "00f067aa0ba902b7",
                "parentSpanId": "0101010101010101",
                "traceState": "a=1",
                "name": "attempt",
                "kind": 3,
                "startTimeUnixNano": "1790000000000000000",
                "endTimeUnixNano": "1790000000000000007",
                "attributes": [
                    {"key": "a", "value": {"stringValue": "b"}},
                    {"key": "n", "value": {"intValue": "7"}},
                ],
                "status": {"code": 2, "message": "refused"},
            })
        );
    }

    #[test]
    fn a_header_that_cannot_be_sent_is_refused_without_its_value() {
        let error = headers(&[("x key".into(), "secret".into())]).unwrap_err();
        assert!(error.contains("x key") && !error.contains("secret"), "{error}");
    }
}
