//! A place in a distributed trace, as W3C Trace Context writes it.
//!
//! Owns reading and writing `traceparent` and `tracestate`. Never makes spans.

use std::fmt;

/// Longest `tracestate` that is passed on, in bytes: what the standard asks for at least.
const MAX_STATE: usize = 512;
/// The flag that says that the caller records its part.
const SAMPLED: u8 = 1;

/// Where in which trace something happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace.
    pub trace: [u8; 16],
    /// The span that is the parent of what follows.
    pub span: [u8; 8],
    /// The flags.
    pub flags: u8,
    /// What tracing systems added for each other.
    pub state: Option<String>,
}

impl TraceContext {
    /// From the headers' values; none if the `traceparent` is not one. A `tracestate` that
    /// cannot be passed on is left out, as the standard asks.
    pub fn parse(parent: &str, state: Option<&str>) -> Option<Self> {
        let mut parts = parent.split('-');
        let version = hex::<1>(parts.next()?)?[0];
        let trace = hex(parts.next()?)?;
        let span = hex(parts.next()?)?;
        let flags = hex::<1>(parts.next()?)?[0];
        // Version 0 has four parts; a later one may have more. 255 is none.
        let ends = version != 0 || parts.next().is_none();
        if version == u8::MAX || !ends || trace == [0; 16] || span == [0; 8] {
            return None;
        }
        let state = state.map(str::trim).filter(|state| {
            !state.is_empty()
                && state.len() <= MAX_STATE
                && state.bytes().all(|byte| matches!(byte, b' '..=b'~'))
        });
        Some(Self { trace, span, flags, state: state.map(str::to_owned) })
    }

    /// Whether the caller records its part of the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id as others write it.
    pub fn trace_id(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace))
    }

    /// The same trace under another span, which is recorded.
    #[must_use]
    pub fn child(&self, span: [u8; 8]) -> Self {
        Self { span, flags: self.flags | SAMPLED, ..self.clone() }
    }

    /// The first span of a new trace, which is recorded.
    pub const fn root(trace: [u8; 16], span: [u8; 8]) -> Self {
        Self { trace, span, flags: SAMPLED, state: None }
    }
}

/// The `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace), u64::from_be_bytes(self.span));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", self.flags)
    }
}

/// As many bytes as asked for, in lower case.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != 2 * N || !digits.iter().all(is_digit) {
        return None;
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_read_is_written_again() {
        let context = TraceContext::parse(PARENT, Some(" vendor=1,other=2 ")).unwrap();
        assert_eq!(context.to_string(), PARENT);
        assert_eq!(context.state.as_deref(), Some("vendor=1,other=2"));
        assert!(context.is_sampled());
        let child = context.child([7; 8]);
        assert_eq!(child.to_string(), PARENT.replace("00f067aa0ba902b7", "0707070707070707"));
        assert_eq!(child.state, context.state);
    }

    #[test]
    fn a_later_version_is_read_as_far_as_it_is_known() {
        let later = format!("{}-more", PARENT.replacen("00", "01", 1));
        assert_eq!(TraceContext::parse(&later, None).unwrap().to_string(), PARENT);
    }

    #[test]
    fn what_is_no_trace_context_is_none() {
        for bad in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad, None), None, "{bad}");
        }
        let long = "x".repeat(MAX_STATE + 1);
        for state in ["", "a\tb", long.as_str()] {
            assert_eq!(TraceContext::parse(PARENT, Some(state)).unwrap().state, None);
        }
    }
}
