//! A span while it is recorded.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use opentelemetry::KeyValue;
use opentelemetry::trace::{Link, Span, SpanContext, Status};
use opentelemetry_sdk::trace::SpanData;

use super::queue::{EndedSpan, Enqueue};

/// Those of a span of ours are fewer.
const ATTRIBUTES_MAX: usize = 32;
/// Links of a transaction of the store. It writes up to a thousand transitions.
const LINKS_MAX: usize = 128;

/// A span from its beginning until it is put into the queue, in the one place in memory where it is written and read. The span of the
/// SDK is copied from one form into the next three times, by code that 99 calls without a span have pushed out of the processor's
/// caches: docs/adr/0068.
#[derive(Debug)]
pub(super) struct RecordingSpan {
    ids: SpanContext,
    /// None: it has ended.
    data: Option<Box<SpanData>>,
    ended: Arc<Enqueue>,
}

impl RecordingSpan {
    /// Records `data` until it ends, and puts it into `ended` then.
    pub(super) fn begin(mut data: Box<SpanData>, ended: Arc<Enqueue>) -> Self {
        let links = data.links.links.len();
        data.links.links.truncate(LINKS_MAX);
        data.links.dropped_count = count(links - data.links.links.len());
        Self { ids: data.span_context.clone(), data: Some(data), ended }
    }
}

impl Span for RecordingSpan {
    /// Spans of ours have no events.
    fn add_event_with_timestamp<T>(&mut self, _: T, _: SystemTime, _: Vec<KeyValue>)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(data) = &mut self.data {
            data.events.dropped_count += 1;
        }
    }

    fn span_context(&self) -> &SpanContext {
        &self.ids
    }

    fn is_recording(&self) -> bool {
        self.data.is_some()
    }

    fn set_attribute(&mut self, attribute: KeyValue) {
        let Some(data) = &mut self.data else { return };
        if data.attributes.len() < ATTRIBUTES_MAX {
            data.attributes.push(attribute);
        } else {
            data.dropped_attributes_count += 1;
        }
    }

    fn set_status(&mut self, status: Status) {
        if let Some(data) = &mut self.data {
            data.status = status;
        }
    }

    fn update_name<T>(&mut self, name: T)
    where
        T: Into<Cow<'static, str>>,
    {
        if let Some(data) = &mut self.data {
            data.name = name.into();
        }
    }

    fn add_link(&mut self, span: SpanContext, attributes: Vec<KeyValue>) {
        let Some(data) = &mut self.data else { return };
        if data.links.links.len() < LINKS_MAX {
            data.links.links.push(Link::new(span, attributes, 0));
        } else {
            data.links.dropped_count += 1;
        }
    }

    fn end_with_timestamp(&mut self, at: SystemTime) {
        if let Some(mut data) = self.data.take() {
            data.end_time = at;
            self.ended.put(EndedSpan::new(data));
        }
    }
}

impl Drop for RecordingSpan {
    /// One that was cut off ends now.
    fn drop(&mut self) {
        self.end();
    }
}

fn count(dropped: usize) -> u32 {
    u32::try_from(dropped).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::IntCounter;

    use super::*;
    use crate::traces::queue::{self, SpanQueue};
    use crate::traces::span_fixture::span_data;

    fn span(links: usize) -> (RecordingSpan, SpanQueue) {
        let mut data = span_data("call");
        data.links.links = vec![Link::new(SpanContext::NONE, Vec::new(), 0); links];
        let (enqueue, queue) = queue::of(8, IntCounter::new("dropped", "dropped").unwrap());
        (RecordingSpan::begin(data, Arc::new(enqueue)), queue)
    }

    fn ended(mut queue: SpanQueue) -> SpanData {
        let mut spans = Vec::new();
        queue.take_ended(&mut spans);
        assert_eq!(spans.len(), 1);
        spans.remove(0).into_data()
    }

    #[test]
    fn what_is_beyond_a_bound_is_counted() {
        let (mut span, queue) = span(LINKS_MAX + 2);
        span.set_attributes((0..40).map(|value| KeyValue::new("attribute", value)));
        span.add_link(SpanContext::NONE, Vec::new());
        span.add_event("event", Vec::new());
        span.end();
        let span = ended(queue);
        assert_eq!((span.links.len(), span.links.dropped_count), (LINKS_MAX, 3));
        assert_eq!((span.attributes.len(), span.dropped_attributes_count), (ATTRIBUTES_MAX, 8));
        assert_eq!((span.events.len(), span.events.dropped_count), (0, 1));
    }

    #[test]
    fn a_span_ends_once_and_keeps_what_it_had_then() {
        let (mut span, queue) = span(1);
        span.add_link(SpanContext::NONE, Vec::new());
        span.update_name("other");
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        span.end_with_timestamp(at);
        assert!(!span.is_recording());
        span.set_attribute(KeyValue::new("late", true));
        span.set_status(Status::error("late"));
        span.update_name("late");
        span.end();
        drop(span);
        let span = ended(queue);
        assert_eq!((span.name.as_ref(), span.end_time, span.links.len()), ("other", at, 2));
        assert_eq!((span.attributes.len(), span.status), (0, Status::Unset));
    }

    #[test]
    fn a_span_that_is_cut_off_ends_then() {
        let (span, queue) = span(0);
        drop(span);
        assert!(ended(queue).end_time > SystemTime::UNIX_EPOCH);
    }
}
