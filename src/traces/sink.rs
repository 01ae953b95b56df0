//! A span for each transition.

use breaker::{Key, Numbering, State};
use opentelemetry::trace::{SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};

use super::tracer::{NewSpan, Tracer, current, ids};
use crate::engine::{Appended, Event, Origin, Standing, TransitionSink};

/// Passes every change on to another outbox, within a span: of the call that caused it, or, by the share that is sampled, of a trace
/// of its own. A transition that another replica made has its span there.
pub struct TracingSink<O> {
    inner: O,
    tracer: Tracer,
}

impl<O> TracingSink<O> {
    /// A sink before `inner`.
    pub fn new(inner: O, tracer: Tracer) -> Self {
        Self { inner, tracer }
    }

    fn begin(&self, event: &Event<'_>) -> Option<Context> {
        if event.origin == Origin::Remote {
            return None;
        }
        let parent = current();
        if parent.is_none() && !self.tracer.samples_root() {
            return None;
        }
        Some(self.tracer.begin(span_of(event), parent.as_ref(), self.tracer.now()))
    }
}

impl<O: TransitionSink> TransitionSink for TracingSink<O> {
    fn append(&self, event: Event<'_>) -> Appended {
        let Some(context) = self.begin(&event) else { return self.inner.append(event) };
        // Before it is appended: its way to the store begins with that.
        self.tracer.links().add(event.key, event.transition, ids(&context));
        let appended = {
            let _attached = context.clone().attach();
            self.inner.append(event)
        };
        if appended.lsn == 0 {
            self.tracer.links().forget(event.key, event.transition);
        }
        context.span().end_with_timestamp(self.tracer.now());
        appended
    }

    fn stands(&self, standing: &Standing<'_>) {
        self.inner.stands(standing);
    }

    fn moved(&self, key: &Key) {
        self.inner.moved(key);
    }

    fn all_changed(&self) {
        self.inner.all_changed();
    }
}

fn span_of(event: &Event<'_>) -> NewSpan {
    let Event { key, transition, .. } = event;
    let stats = &transition.stats;
    let mut attributes = vec![
        KeyValue::new("breakerd.service", key.service().to_string()),
        KeyValue::new("breakerd.name", key.name().to_string()),
        KeyValue::new("breakerd.transition.from", transition.from.as_str()),
        KeyValue::new("breakerd.transition.to", transition.to().as_str()),
        KeyValue::new("breakerd.transition.reason", transition.reason.as_str()),
        KeyValue::new("breakerd.transition.calls", i64::from(stats.calls)),
        KeyValue::new("breakerd.transition.failures", i64::from(stats.failures)),
        KeyValue::new("breakerd.transition.slow_calls", i64::from(stats.slow_calls)),
        KeyValue::new("breakerd.transition.consecutive_failures", i64::from(stats.consecutive_failures)),
    ];
    // What the store numbers has no epoch yet.
    if event.numbering == Numbering::Own
        && let Ok(epoch) = i64::try_from(transition.after.epoch)
    {
        attributes.push(KeyValue::new("breakerd.epoch", epoch));
    }
    if transition.shadow {
        attributes.push(KeyValue::new("breakerd.transition.shadow", true));
    }
    if event.origin == Origin::Alone {
        attributes.push(KeyValue::new("breakerd.store_unavailable", true));
    }
    let name = name_of(transition.to()).into();
    NewSpan { name, kind: SpanKind::Internal, attributes, links: Vec::new() }
}

const fn name_of(to: State) -> &'static str {
    match to {
        State::Closed => "transition to CLOSED",
        State::Open => "transition to OPEN",
        State::HalfOpen => "transition to HALF_OPEN",
        State::ForcedOpen => "transition to FORCED_OPEN",
        State::Disabled => "transition to DISABLED",
        State::MetricsOnly => "transition to METRICS_ONLY",
    }
}
