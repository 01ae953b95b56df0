//! Makes spans.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::SystemTime;

use breaker::Time;
use breakerd_common::clock::Clock;
use http::HeaderMap;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceState,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator, SpanData, SpanEvents, SpanLinks};
use prometheus::IntCounter;

use super::SCHEMA_URL;
use super::call_span::CallSpan;
use super::proposal_links::ProposalLinks;
use super::queue::{self, Enqueue, SpanQueue};
use super::recording_span::RecordingSpan;
use super::span_time::system_time;
use super::trace_parent::TraceParent;
use crate::version::VERSION;

/// What a ratio is counted in.
const MILLION: u32 = 1_000_000;
/// How many attributes the span of a decision has: room for them is made once.
const CALL_ATTRIBUTES: usize = 10;

/// Makes the spans of this process. Clones make them for the same queue.
#[derive(Clone)]
pub struct Tracer {
    shared: Arc<Shared>,
}

struct Shared {
    ids: RandomIdGenerator,
    scope: InstrumentationScope,
    ended: Arc<Enqueue>,
    clock: Arc<dyn Clock>,
    /// The share of what has no caller that samples, in millionths.
    per_million: u32,
    links: ProposalLinks,
    store: StoreSystem,
}

/// What a span begins with.
pub(super) struct NewSpan {
    pub(super) name: Cow<'static, str>,
    pub(super) kind: SpanKind,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<Link>,
}

/// Which database the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreSystem {
    /// SQLite.
    Sqlite,
    /// Postgres.
    Postgres,
}

impl StoreSystem {
    /// As the conventions name it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgresql",
        }
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").field("per_million", &self.shared.per_million).finish_non_exhaustive()
    }
}

impl Tracer {
    /// A tracer, and the queue of at most `queue_max` ended spans. Of what has no caller that decides, `per_million` in a million
    /// are sampled. Spans that find no room are counted in `dropped`.
    pub fn new(
        per_million: u32,
        queue_max: usize,
        store: StoreSystem,
        clock: Arc<dyn Clock>,
        dropped: IntCounter,
    ) -> (Self, SpanQueue) {
        let (enqueue, queue) = queue::of(queue_max, dropped);
        let scope = InstrumentationScope::builder("breakerd")
            .with_version(VERSION)
            .with_schema_url(SCHEMA_URL)
            .build();
        let (ids, ended) = (RandomIdGenerator::default(), Arc::new(enqueue));
        let shared = Shared { ids, scope, ended, clock, per_million, links: ProposalLinks::default(), store };
        (Self { shared: Arc::new(shared) }, queue)
    }

    /// The span of a call to `method` (`breakerd.v1.BreakerService/AllowRequest`), which began at `started` of the monotonic
    /// clock. None: it is not sampled.
    pub fn call(&self, method: &'static str, headers: &HeaderMap, started: Time) -> Option<CallSpan> {
        let parent = match TraceParent::of(headers) {
            TraceParent::Sampled(parent) => Some(parent),
            TraceParent::Absent if self.samples_root() => None,
            TraceParent::Absent | TraceParent::Unsampled => return None,
        };
        let offset = self.shared.clock.wall_offset();
        let mut attributes = Vec::with_capacity(CALL_ATTRIBUTES);
        attributes.push(KeyValue::new("rpc.system.name", "grpc"));
        attributes.push(KeyValue::new("rpc.method", method));
        let span = NewSpan { name: method.into(), kind: SpanKind::Server, attributes, links: Vec::new() };
        Some(CallSpan::new(self.begin(span, parent.as_ref(), system_time(offset, started)), offset))
    }

    /// Adds to the span of the call that is being answered, if that is sampled.
    pub fn note(&self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        Context::map_current(|context| {
            if context.has_active_span() {
                context.span().set_attributes(attributes());
            }
        });
    }

    /// Whether something without a parent is sampled.
    pub(super) fn samples_root(&self) -> bool {
        fastrand::u32(..MILLION) < self.shared.per_million
    }

    /// The context of a new span, which is its own one.
    pub(super) fn begin(&self, span: NewSpan, parent: Option<&SpanContext>, at: SystemTime) -> Context {
        let Shared { ids, scope, ended, .. } = &*self.shared;
        let (trace_id, trace_state) = parent.map_or_else(
            || (ids.new_trace_id(), TraceState::NONE),
            |parent| (parent.trace_id(), parent.trace_state().clone()),
        );
        let mut links = SpanLinks::default();
        links.links = span.links;
        let data = Box::new(SpanData {
            span_context: SpanContext::new(
                trace_id,
                ids.new_span_id(),
                TraceFlags::SAMPLED,
                false,
                trace_state,
            ),
            parent_span_id: parent.map_or(SpanId::INVALID, SpanContext::span_id),
            parent_span_is_remote: parent.is_some_and(SpanContext::is_remote),
            span_kind: span.kind,
            name: span.name,
            start_time: at,
            end_time: at,
            attributes: span.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links,
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        });
        Context::new().with_span(RecordingSpan::begin(data, Arc::clone(ended)))
    }

    pub(super) fn now(&self) -> SystemTime {
        let clock = &self.shared.clock;
        system_time(clock.wall_offset(), clock.now())
    }

    pub(super) fn links(&self) -> &ProposalLinks {
        &self.shared.links
    }

    pub(super) fn store(&self) -> StoreSystem {
        self.shared.store
    }
}

/// The ids of the sampled span that is the current one; none: there is none.
pub(super) fn current() -> Option<SpanContext> {
    Context::map_current(|context| {
        let is_sampled = context.has_active_span() && context.span().span_context().is_sampled();
        is_sampled.then(|| ids(context))
    })
}

/// The ids of the span of a context.
pub(super) fn ids(context: &Context) -> SpanContext {
    context.span().span_context().clone()
}
