//! Makes spans.

use std::sync::Arc;
use std::time::SystemTime;

use breaker::Time;
use breakerd_common::clock::Clock;
use http::HeaderMap;
use opentelemetry::trace::{
    SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use prometheus::IntCounter;

use super::SCHEMA_URL;
use super::call_span::CallSpan;
use super::proposal_links::ProposalLinks;
use super::queue::{self, SpanQueue};
use super::span_time::system_time;
use super::trace_parent::TraceParent;
use crate::version::VERSION;

/// What a ratio is counted in.
const MILLION: u32 = 1_000_000;
/// Those of a span of ours are fewer.
const ATTRIBUTES_MAX: u32 = 32;
/// Links of a transaction of the store. It writes up to a thousand transitions.
const LINKS_MAX: u32 = 128;

/// Makes the spans of this process. Clones make them for the same queue.
#[derive(Clone)]
pub struct Tracer {
    shared: Arc<Shared>,
}

struct Shared {
    spans: SdkTracer,
    clock: Arc<dyn Clock>,
    /// The share of what has no caller that samples, in millionths.
    per_million: u32,
    links: ProposalLinks,
    store: StoreSystem,
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
        let provider = SdkTracerProvider::builder()
            // Whether a span is made is decided before, here: see the module.
            .with_sampler(Sampler::AlwaysOn)
            .with_max_attributes_per_span(ATTRIBUTES_MAX)
            .with_max_links_per_span(LINKS_MAX)
            // The exporter has it.
            .with_resource(Resource::builder_empty().build())
            .with_span_processor(enqueue)
            .build();
        let scope = InstrumentationScope::builder("breakerd")
            .with_version(VERSION)
            .with_schema_url(SCHEMA_URL)
            .build();
        let spans = provider.tracer_with_scope(scope);
        let shared = Shared { spans, clock, per_million, links: ProposalLinks::default(), store };
        (Self { shared: Arc::new(shared) }, queue)
    }

    /// The span of a call to `method` (`breakerd.v1.BreakerService/AllowRequest`), which began at `started` of the monotonic
    /// clock. None: it is not sampled.
    pub fn call(&self, method: &'static str, headers: &HeaderMap, started: Time) -> Option<CallSpan> {
        let parent = match TraceParent::of(headers) {
            TraceParent::Sampled(parent) => Context::new().with_remote_span_context(parent),
            TraceParent::Absent if self.samples_root() => Context::new(),
            TraceParent::Absent | TraceParent::Unsampled => return None,
        };
        let offset = self.shared.clock.wall_offset();
        let builder = SpanBuilder::from_name(method)
            .with_kind(SpanKind::Server)
            .with_attributes([KeyValue::new("rpc.system.name", "grpc"), KeyValue::new("rpc.method", method)]);
        Some(CallSpan::new(self.begin(builder, &parent, system_time(offset, started)), offset))
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
    pub(super) fn begin(&self, builder: SpanBuilder, parent: &Context, at: SystemTime) -> Context {
        let span = self.shared.spans.build_with_context(builder.with_start_time(at), parent);
        Context::new().with_span(span)
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

/// The sampled span that is the current one; none: there is none.
pub(super) fn current() -> Option<Context> {
    Context::map_current(|context| {
        let is_sampled = context.has_active_span() && context.span().span_context().is_sampled();
        is_sampled.then(|| context.clone())
    })
}

/// The ids of the span of a context.
pub(super) fn ids(context: &Context) -> SpanContext {
    context.span().span_context().clone()
}
