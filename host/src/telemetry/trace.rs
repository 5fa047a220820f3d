//! Spans: what happened when, as a part of which trace.
//!
//! Owns the sampling decision and the place in a trace that is current. Sends finished spans
//! to the exporter and never waits for it. Without one, nothing is recorded and the trace that
//! a producer began passes through as it is.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use http::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;

use crate::{
    clock::{Clock, Stopwatch},
    model::TraceContext,
};

/// The header with the place in a trace, and the one with what others added to it.
const PARENT: &str = "traceparent";
const STATE: &str = "tracestate";

/// Where finished spans go, if anywhere: one for the process, as with metrics and logs.
static TRACER: OnceLock<Tracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: Option<Arc<TraceContext>>;
}

pub(super) struct Tracer {
    pub finished: mpsc::Sender<super::otlp::Item>,
    /// The share of new traces that is recorded.
    pub ratio: f64,
}

/// Records spans from now on. The first one counts.
pub(super) fn install(tracer: Tracer) -> bool {
    TRACER.set(tracer).is_ok()
}

/// What a span is to its neighbours, by OpenTelemetry's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Within the server.
    Internal = 1,
    /// An answer to a request.
    Server = 2,
    /// A request to another.
    Client = 3,
    /// The start of something that others take up later.
    Producer = 4,
}

/// An attribute's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A number.
    Number(i64),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// A span that is over.
#[derive(Debug)]
pub struct Finished {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) context: Arc<TraceContext>,
    pub(super) parent: Option<[u8; 8]>,
    pub(super) start_ns: u64,
    pub(super) end_ns: u64,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) error: Option<String>,
}

/// Something that is going on. It is over when this is dropped.
#[derive(Debug)]
pub struct Span {
    context: Option<Arc<TraceContext>>,
    open: Option<Box<(Finished, Stopwatch)>>,
}

/// Begins a span under `parent`, or one that begins a trace.
pub fn span(name: &'static str, kind: Kind, parent: Option<Arc<TraceContext>>) -> Span {
    match TRACER.get() {
        Some(tracer) => begin(tracer.ratio, name, kind, parent),
        None => Span { context: parent, open: None },
    }
}

fn begin(ratio: f64, name: &'static str, kind: Kind, parent: Option<Arc<TraceContext>>) -> Span {
    let mut fresh = [0; 24];
    if getrandom::fill(&mut fresh).is_err() {
        return Span { context: parent, open: None };
    }
    let (mut trace, mut id) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&fresh[..16]);
    id.copy_from_slice(&fresh[16..]);
    let (is_recorded, context) = match &parent {
        // Whoever began the trace has decided.
        Some(parent) => (parent.is_sampled(), parent.child(id)),
        None => (chosen(trace, ratio), TraceContext::root(trace, id)),
    };
    if !is_recorded {
        return Span { context: parent, open: None };
    }
    let context = Arc::new(context);
    let finished = Finished {
        name,
        kind,
        context: Arc::clone(&context),
        parent: parent.map(|parent| parent.span),
        start_ns: Clock::unix_nanos(),
        end_ns: 0,
        attributes: Vec::new(),
        error: None,
    };
    Span { context: Some(context), open: Some(Box::new((finished, Stopwatch::start()))) }
}

/// Every server comes to the same decision about a trace.
fn chosen(trace: [u8; 16], ratio: f64) -> bool {
    let low = u128::from_be_bytes(trace) as u64;
    ratio >= 1.0 || (low as f64) < ratio * u64::MAX as f64
}

impl Span {
    /// The place in the trace for what happens within: this span if it is recorded, else its
    /// parent.
    pub fn context(&self) -> Option<Arc<TraceContext>> {
        self.context.clone()
    }

    /// Says more, if it is recorded.
    pub fn set<V: Into<Value>>(&mut self, name: &'static str, value: impl FnOnce() -> V) {
        if let Some(open) = &mut self.open {
            open.0.attributes.push((name, value().into()));
        }
    }

    /// Says that it went wrong.
    pub fn failed(&mut self, why: &str) {
        if let Some(open) = &mut self.open {
            open.0.error = Some(why.to_owned());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        let (mut finished, watch) = *open;
        let took = u64::try_from(watch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        finished.end_ns = finished.start_ns.saturating_add(took);
        if let Some(tracer) = TRACER.get()
            && tracer.finished.try_send(super::otlp::Item::Span(finished)).is_err()
        {
            metrics::counter!("hookmill_spans_dropped_total").increment(1);
        }
    }
}

/// The current place in a trace.
pub fn current() -> Option<Arc<TraceContext>> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// Does something at a place in a trace.
pub async fn within<F: Future>(context: Option<Arc<TraceContext>>, work: F) -> F::Output {
    CURRENT.scope(context, work).await
}

/// The place in a trace that a request's headers name.
pub fn extract(headers: &HeaderMap) -> Option<Arc<TraceContext>> {
    let parent = headers.get(PARENT)?.to_str().ok()?;
    let states: Vec<&str> = headers.get_all(STATE).iter().filter_map(|s| s.to_str().ok()).collect();
    TraceContext::parse(parent, Some(&states.join(","))).map(Arc::new)
}

/// Names the current place in the headers of a request that is to be sent.
pub fn inject(headers: &mut HeaderMap) {
    let Some(context) = current() else { return };
    headers.remove(STATE);
    // Hexadecimal digits, and a state whose characters were checked.
    if let Ok(parent) = HeaderValue::try_from(context.to_string()) {
        headers.insert(PARENT, parent);
    }
    if let Some(state) = context.state.as_deref().and_then(|s| HeaderValue::from_str(s).ok()) {
        headers.insert(STATE, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(flags: &str) -> Arc<TraceContext> {
        let text = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
        Arc::new(TraceContext::parse(&text, None).unwrap())
    }

    #[test]
    fn a_producers_decision_is_kept() {
        let sampled = begin(0.0, "a", Kind::Internal, Some(parent("01")));
        let (context, open) = (sampled.context().unwrap(), sampled.open.as_ref().unwrap());
        assert_eq!(context.trace, parent("01").trace);
        assert_ne!(context.span, parent("01").span);
        assert_eq!(open.0.parent, Some(parent("01").span));
        let left_out = begin(1.0, "a", Kind::Internal, Some(parent("00")));
        assert_eq!(left_out.context(), Some(parent("00")));
        assert!(left_out.open.is_none());
    }

    #[test]
    fn of_new_traces_a_share_is_recorded() {
        assert!(begin(1.0, "a", Kind::Internal, None).context().unwrap().is_sampled());
        assert!(begin(0.0, "a", Kind::Internal, None).context().is_none());
        let recorded = (0..=255).filter(|n| chosen([*n; 16], 0.25)).count();
        assert_eq!(recorded, 64);
    }

    #[tokio::test]
    async fn the_current_place_is_read_from_headers_and_written_to_them() {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty() && current().is_none());
        headers.insert(PARENT, parent("01").to_string().parse().unwrap());
        headers.append(STATE, "a=1".parse().unwrap());
        headers.append(STATE, "b=2".parse().unwrap());
        let found = extract(&headers);
        let mut sent = HeaderMap::new();
        sent.insert(PARENT, "a plugin's".parse().unwrap());
        sent.insert(STATE, "a plugin's".parse().unwrap());
        within(found, async { inject(&mut sent) }).await;
        assert_eq!(sent[PARENT], parent("01").to_string());
        assert_eq!(sent[STATE], "a=1,b=2");
    }
}
