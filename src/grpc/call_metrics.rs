//! What is counted of calls: how many ended how, and how long they took, by method.
//!
//! One table of a fixed size, written with relaxed atomics and read by the collector at the scrape.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tonic::Code;

use super::envoy::wire;
use super::sampled_calls::{SampledCall, SampledCalls};
use crate::metrics::{CallRow, Exemplar};

/// Upper bounds of the buckets in seconds: from the tens of microseconds of a decision to a call that waits
/// for its deadline.
pub const BOUNDS_SECONDS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];
const BOUNDS_MICROS: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_000_000, 5_000_000];

/// The codes of gRPC by their numbers, as they are written.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

macro_rules! methods {
    ($($method:ident = $service:literal / $name:literal),+ $(,)?) => {
        /// Every method that is served; what is not counts as `Other`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[expect(missing_docs, reason = "their names are those of the .proto files")]
        pub enum Method {
            $($method,)+
            Other,
        }

        impl Method {
            /// Every one of them, in order.
            pub const ALL: &'static [Self] = &[$(Self::$method,)+ Self::Other];

            /// The method at a path of HTTP.
            pub fn at(path: &str) -> Self {
                match path {
                    $(concat!("/", $service, "/", $name) => Self::$method,)+
                    _ => Self::Other,
                }
            }

            /// The full names of its service and of itself, with a slash between them.
            pub const fn full_name(self) -> &'static str {
                match self {
                    $(Self::$method => concat!($service, "/", $name),)+
                    Self::Other => "_OTHER",
                }
            }

            /// The full name of its service.
            pub const fn service(self) -> &'static str {
                match self {
                    $(Self::$method => $service,)+
                    Self::Other => "other",
                }
            }

            /// Its name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$method => $name,)+
                    Self::Other => "other",
                }
            }
        }
    };
}

methods! {
    AllowRequest = "breakerd.v1.BreakerService" / "AllowRequest",
    RecordOutcome = "breakerd.v1.BreakerService" / "RecordOutcome",
    AllowRequests = "breakerd.v1.BreakerService" / "AllowRequests",
    RecordOutcomes = "breakerd.v1.BreakerService" / "RecordOutcomes",
    WatchBreakers = "breakerd.v1.BreakerService" / "WatchBreakers",
    GetConfig = "breakerd.v1.ConfigService" / "GetConfig",
    ListConfigs = "breakerd.v1.ConfigService" / "ListConfigs",
    UpdateConfig = "breakerd.v1.ConfigService" / "UpdateConfig",
    DeleteConfig = "breakerd.v1.ConfigService" / "DeleteConfig",
    ListConfigChanges = "breakerd.v1.ConfigService" / "ListConfigChanges",
    WatchConfig = "breakerd.v1.ConfigService" / "WatchConfig",
    ListBreakers = "breakerd.v1.OperationsService" / "ListBreakers",
    GetBreaker = "breakerd.v1.OperationsService" / "GetBreaker",
    ListTransitions = "breakerd.v1.OperationsService" / "ListTransitions",
    ListReplicas = "breakerd.v1.OperationsService" / "ListReplicas",
    ListPermitKeys = "breakerd.v1.OperationsService" / "ListPermitKeys",
    RotatePermitKey = "breakerd.v1.OperationsService" / "RotatePermitKey",
    SetOverride = "breakerd.v1.OperationsService" / "SetOverride",
    ClearOverride = "breakerd.v1.OperationsService" / "ClearOverride",
    ResetBreaker = "breakerd.v1.OperationsService" / "ResetBreaker",
    DeleteBreaker = "breakerd.v1.OperationsService" / "DeleteBreaker",
    ProbeBreaker = "breakerd.v1.OperationsService" / "ProbeBreaker",
    WatchTransitions = "breakerd.v1.OperationsService" / "WatchTransitions",
    EnvoyCheck = "envoy.service.auth.v3.Authorization" / "Check",
    EnvoyAccessLog = "envoy.service.accesslog.v3.AccessLogService" / "StreamAccessLogs",
    HealthCheck = "grpc.health.v1.Health" / "Check",
    HealthWatch = "grpc.health.v1.Health" / "Watch",
    Reflection = "grpc.reflection.v1.ServerReflection" / "ServerReflectionInfo",
    ReflectionAlpha = "grpc.reflection.v1alpha.ServerReflection" / "ServerReflectionInfo",
}

impl Method {
    /// Whether it is a stream, which has no time of its own: it lasts as long as the client listens, or tells.
    pub const fn is_stream(self) -> bool {
        matches!(
            self,
            Self::WatchBreakers
                | Self::WatchConfig
                | Self::WatchTransitions
                | Self::HealthWatch
                | Self::Reflection
                | Self::ReflectionAlpha
                | Self::EnvoyAccessLog
        )
    }

    /// Whether it is a health check: never shed because of others, since a prober takes "too busy" for
    /// "dead".
    pub const fn is_probe(self) -> bool {
        matches!(self, Self::HealthCheck)
    }

    /// Whether its request is a stream of messages.
    pub const fn is_client_stream(self) -> bool {
        matches!(self, Self::Reflection | Self::ReflectionAlpha | Self::EnvoyAccessLog)
    }

    /// Whether its request is a list of up to 1,000 requests, its first field.
    pub const fn is_batch(self) -> bool {
        matches!(self, Self::AllowRequests | Self::RecordOutcomes)
    }

    /// Whether it answers a page of a list.
    pub const fn is_list(self) -> bool {
        matches!(
            self,
            Self::ListBreakers | Self::ListConfigs | Self::ListTransitions | Self::ListConfigChanges
        )
    }

    /// Bytes of its largest lawful request, rounded up; `batch_max` is that of a batch, and no other is above it.
    pub fn request_bytes_max(self, batch_max: usize) -> usize {
        let largest = match self {
            // A thousand outcomes, every field as long as it may be, are 0.9 MB.
            Self::AllowRequests | Self::RecordOutcomes => batch_max,
            // A thousand services that are selected; two lists of 64 error classes and a mask.
            Self::WatchBreakers | Self::WatchConfig | Self::WatchTransitions | Self::UpdateConfig => {
                192 * 1024
            }
            // The headers of a request; entries of a log.
            Self::EnvoyCheck | Self::EnvoyAccessLog => wire::MESSAGE_BYTES_MAX,
            // Names, a token of a page, a reason.
            _ => 16 * 1024,
        };
        largest.min(batch_max)
    }
}

/// Calls of every method.
#[derive(Debug)]
pub struct CallMetrics {
    methods: Vec<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    codes: [AtomicU64; CODES.len()],
    /// By bucket, the last one unbounded; not cumulative.
    buckets: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
    sampled: SampledCalls,
}

/// Calls of one method up to some moment.
#[derive(Debug, Clone, PartialEq)]
pub struct CallView {
    /// The method.
    pub method: Method,
    /// How many ended with each code; those that never happened are left out. A stream counts when it begins.
    pub by_code: Vec<(&'static str, u64)>,
    /// Calls that took up to each of [`BOUNDS_SECONDS`]; streams are not timed.
    pub cumulative: Vec<u64>,
    /// Calls that were timed.
    pub count: u64,
    /// Seconds that they took in all.
    pub sum_seconds: f64,
    /// The newest sampled call of each bucket, as far as there are any; that of the unbounded one is behind that of the last bound.
    pub exemplars: Vec<Option<Exemplar>>,
    /// The newest sampled call of each code of a failure.
    pub exemplars_by_code: Vec<(&'static str, Exemplar)>,
}

impl CallView {
    /// As the metrics take it.
    pub fn into_row(self) -> CallRow {
        CallRow {
            service: self.method.service(),
            method: self.method.name(),
            by_code: self.by_code,
            bounds_seconds: &BOUNDS_SECONDS,
            cumulative: self.cumulative,
            count: self.count,
            sum_seconds: self.sum_seconds,
            exemplars: self.exemplars,
            exemplars_by_code: self.exemplars_by_code,
        }
    }
}

impl Default for CallMetrics {
    fn default() -> Self {
        Self { methods: Method::ALL.iter().map(|_| Counted::default()).collect() }
    }
}

impl CallMetrics {
    pub(super) fn ended(&self, method: Method, code: Code, took: Duration, sampled: Option<SampledCall>) {
        let counted = &self.methods[method as usize];
        counted.codes[code as usize].fetch_add(1, Relaxed);
        if let Some(call) = sampled
            && code != Code::Ok
        {
            counted.sampled.failed(code as usize, call);
        }
        if method.is_stream() {
            return;
        }
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        counted.buckets[bucket].fetch_add(1, Relaxed);
        counted.sum_micros.fetch_add(micros, Relaxed);
        if let Some(call) = sampled {
            counted.sampled.timed(bucket, Duration::from_micros(micros), call);
        }
    }

    /// Every method that is served, called or not.
    pub fn snapshot(&self) -> Vec<CallView> {
        Method::ALL.iter().zip(&self.methods).map(|(method, counted)| counted.view(*method)).collect()
    }
}

impl Counted {
    fn view(&self, method: Method) -> CallView {
        let by_code = CODES
            .iter()
            .zip(&self.codes)
            .map(|(code, count)| (*code, count.load(Relaxed)))
            .filter(|(_, count)| *count > 0)
            .collect();
        let mut count = 0;
        let mut cumulative = Vec::with_capacity(self.buckets.len());
        for bucket in &self.buckets {
            count += bucket.load(Relaxed);
            cumulative.push(count);
        }
        cumulative.pop();
        let sum_seconds = Duration::from_micros(self.sum_micros.load(Relaxed)).as_secs_f64();
        let exemplars = self.sampled.by_bucket();
        let codes = CODES.iter().zip(self.sampled.by_code());
        let exemplars_by_code = codes.filter_map(|(code, exemplar)| Some((*code, exemplar?))).collect();
        CallView { method, by_code, cumulative, count, sum_seconds, exemplars, exemplars_by_code }
    }
}

/// How a code is written.
pub(crate) fn code_name(code: Code) -> &'static str {
    CODES[code as usize]
}

#[cfg(test)]
mod tests {
    use breaker::Time;
    use opentelemetry::trace::TraceId;

    use super::*;

    #[test]
    fn a_path_is_its_method_and_everything_else_is_other() {
        assert_eq!(Method::at("/breakerd.v1.BreakerService/AllowRequest"), Method::AllowRequest);
        assert_eq!(Method::at("/grpc.health.v1.Health/Check"), Method::HealthCheck);
        for path in
            ["", "/", "/breakerd.v1.BreakerService/", "breakerd.v1.BreakerService/AllowRequest", "/x/y"]
        {
            assert_eq!(Method::at(path), Method::Other, "{path}");
        }
    }

    #[test]
    fn no_method_takes_more_than_a_batch_does() {
        assert_eq!(Method::RecordOutcomes.request_bytes_max(1 << 20), 1 << 20);
        assert_eq!(Method::WatchBreakers.request_bytes_max(1 << 20), 192 << 10);
        assert_eq!(Method::HealthCheck.request_bytes_max(1 << 20), 16 << 10);
        assert!(Method::ALL.iter().all(|method| method.request_bytes_max(1_000) == 1_000));
    }

    #[test]
    fn calls_are_counted_by_code_and_by_time() {
        let calls = CallMetrics::default();
        calls.ended(Method::AllowRequest, Code::Ok, Duration::from_micros(50), None);
        calls.ended(Method::AllowRequest, Code::Ok, Duration::from_micros(51), None);
        calls.ended(Method::AllowRequest, Code::Unauthenticated, Duration::from_mins(1), None);
        calls.ended(Method::HealthWatch, Code::Ok, Duration::from_mins(1), None);
        let views = calls.snapshot();
        let allow = &views[Method::AllowRequest as usize];
        assert_eq!(allow.by_code, [("OK", 2), ("UNAUTHENTICATED", 1)]);
        assert_eq!(allow.cumulative[..2], [1, 2]);
        assert_eq!(allow.cumulative.last(), Some(&2));
        assert_eq!(allow.count, 3);
        assert_eq!(views[Method::HealthWatch as usize].by_code, [("OK", 1)]);
        assert_eq!(views[Method::HealthWatch as usize].count, 0);
    }

    #[test]
    fn a_sampled_call_is_with_the_bucket_that_it_is_timed_in_and_with_the_code_of_its_failure() {
        let trace_id = TraceId::from(7);
        let sampled = Some(SampledCall { trace_id, ended_at: Time::ZERO });
        let exemplar = |value| Exemplar { trace_id, value, at: Time::ZERO };
        let calls = CallMetrics::default();
        calls.ended(Method::AllowRequest, Code::Ok, Duration::from_micros(50), sampled);
        calls.ended(Method::AllowRequest, Code::Internal, Duration::from_mins(1), sampled);
        calls.ended(Method::AllowRequest, Code::Ok, Duration::from_micros(60), None);
        calls.ended(Method::HealthWatch, Code::Unavailable, Duration::from_mins(1), sampled);

        let views = calls.snapshot();
        let allow = &views[Method::AllowRequest as usize];
        let mut expected = vec![None; BOUNDS_MICROS.len() + 1];
        expected[0] = Some(exemplar(0.000_05));
        expected[BOUNDS_MICROS.len()] = Some(exemplar(60.0));
        assert_eq!(allow.exemplars, expected);
        assert_eq!(allow.exemplars_by_code, [("INTERNAL", exemplar(1.0))]);
        // A stream is not timed.
        let watch = &views[Method::HealthWatch as usize];
        assert_eq!(
            (&*watch.exemplars, &*watch.exemplars_by_code),
            (&[][..], &[("UNAVAILABLE", exemplar(1.0))][..])
        );
        let record = &views[Method::RecordOutcome as usize];
        assert!(record.exemplars.is_empty() && record.exemplars_by_code.is_empty());
    }
}
