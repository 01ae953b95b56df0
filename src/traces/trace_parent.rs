//! The trace that a caller is in, as W3C's `traceparent` and `tracestate` headers say it.
//!
//! Read here and not by the library's propagator, which splits and copies before it knows whether the call is sampled at
//! all: most are not, and then the header is only looked at. A test compares the two.

use http::header::{HeaderMap, HeaderName};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// The length of version 00: two digits, 32, 16 and two, with dashes between them. Later versions may only append.
const LENGTH: usize = 55;
/// What the standard asks to pass on at least. More is dropped as a whole.
const TRACESTATE_BYTES_MAX: usize = 512;

/// What the headers of a call say.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum TraceParent {
    /// Nothing, or nothing that can be read.
    Absent,
    /// That the caller's trace is not sampled.
    Unsampled,
    /// The caller's span, which is sampled.
    Sampled(SpanContext),
}

impl TraceParent {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(header) = headers.get(TRACEPARENT) else { return Self::Absent };
        let Some((trace_id, span_id, flags)) = read(header.as_bytes()) else { return Self::Absent };
        if flags & TraceFlags::SAMPLED.to_u8() == 0 {
            return Self::Unsampled;
        }
        Self::Sampled(SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, trace_state(headers)))
    }
}

fn read(header: &[u8]) -> Option<(TraceId, SpanId, u8)> {
    let header = header.trim_ascii();
    let (fields, rest) = header.split_at_checked(LENGTH)?;
    if [2, 35, 52].iter().any(|at| fields[*at] != b'-') {
        return None;
    }
    let version = u8::try_from(hex(&fields[..2])?).ok()?;
    if version == u8::MAX || (version == 0 && !rest.is_empty()) || rest.first().is_some_and(|it| *it != b'-')
    {
        return None;
    }
    let trace_id = TraceId::from(hex(&fields[3..35])?);
    let span_id = SpanId::from(u64::try_from(hex(&fields[36..52])?).ok()?);
    let flags = u8::try_from(hex(&fields[53..])?).ok()?;
    (trace_id != TraceId::INVALID && span_id != SpanId::INVALID).then_some((trace_id, span_id, flags))
}

/// A number in lower-case hexadecimal digits, at most 32 of them.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// The caller's, if it is short enough and well-formed; a trace goes on without it.
fn trace_state(headers: &HeaderMap) -> TraceState {
    let mut all = String::new();
    for header in headers.get_all(TRACESTATE) {
        let Ok(text) = header.to_str() else { return TraceState::NONE };
        if all.len() + text.len() > TRACESTATE_BYTES_MAX {
            return TraceState::NONE;
        }
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(text);
    }
    all.parse().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::Context;
    use opentelemetry::propagation::TextMapPropagator as _;
    use opentelemetry::trace::TraceContextExt as _;
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn of(parent: &str, states: &[&str]) -> TraceParent {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, parent.parse().unwrap());
        for state in states {
            headers.append(TRACESTATE, state.parse().unwrap());
        }
        TraceParent::of(&headers)
    }

    fn state_of(parent: &TraceParent) -> String {
        let TraceParent::Sampled(context) = parent else { panic!("{parent:?}") };
        context.trace_state().header()
    }

    #[test]
    fn a_parent_is_read_and_what_is_none_is_absent() {
        let TraceParent::Sampled(context) = of(PARENT, &[]) else { panic!("sampled") };
        assert_eq!(context.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_remote() && context.is_sampled());
        assert_eq!(of(&PARENT.replace("-01", "-00"), &[]), TraceParent::Unsampled);
        // Other flags, and versions to come, which may append.
        assert!(matches!(of(&PARENT.replace("-01", "-03"), &[]), TraceParent::Sampled(_)));
        let next = format!("{}-more", PARENT.replace("00-0", "01-0"));
        assert!(matches!(of(&next, &[]), TraceParent::Sampled(_)));
        for none in [
            "",
            "00",
            &PARENT.to_uppercase(),
            &PARENT.replace("00-0", "ff-0"),
            &format!("{PARENT}-more"),
            &format!("{}x", PARENT.replace("00-0", "01-0")),
            &PARENT.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &PARENT.replace("b7ad6b7169203331", &"0".repeat(16)),
            &PARENT.replace('-', "_"),
            &PARENT.replace("0af7", "0agf"),
        ] {
            assert_eq!(of(none, &[]), TraceParent::Absent, "{none}");
        }
    }

    #[test]
    fn a_state_is_kept_within_its_bound_and_dropped_beyond() {
        assert_eq!(state_of(&of(PARENT, &["a=1,b=2", "c=3"])), "a=1,b=2,c=3");
        let long = format!("a={}", "x".repeat(250));
        assert_eq!(state_of(&of(PARENT, &[&long, "b=2"])), format!("{long},b=2"));
        assert_eq!(state_of(&of(PARENT, &[&long, &long, &long])), "");
        assert_eq!(state_of(&of(PARENT, &["no state"])), "");
    }

    proptest! {
        /// Of version 00, which the library knows; that of later ones it takes with anything behind.
        #[test]
        fn it_is_read_as_the_library_reads_it(text in "00-[0-9a-fA-F]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{2}(-)?") {
            let headers = HashMap::from([("traceparent".to_owned(), text.clone())]);
            let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &headers);
            let theirs = context.span().span_context().clone();
            match of(&text, &[]) {
                TraceParent::Sampled(ours) => prop_assert_eq!(ours, theirs),
                TraceParent::Unsampled => prop_assert!(theirs.is_valid() && !theirs.is_sampled()),
                // The library takes shorter ids, and a dash at the end.
                TraceParent::Absent => prop_assert!(!theirs.is_valid() || text.len() != LENGTH),
            }
        }
    }
}
