//! What an entry of a proxy's access log says of the service behind the proxy.
//!
//! Response flags come first: a response of 200 whose body broke off has one. Then the status of gRPC, then that of HTTP. A client
//! that went away says nothing of the service.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breakerd_api::envoy_api::envoy::data::accesslog::v3::{AccessLogType, ResponseFlags};
use breakerd_api::time;
use breakerd_api::v1::{Outcome, RecordOutcomeRequest};
use breakerd_common::clock::WallTime;

use super::entry::{Common, Entry};
use crate::metrics::LogEntry;
use crate::retry_after::RetryAfter;

/// Statuses of HTTP that are failures: too many requests, and what is the service's fault.
const TOO_MANY_REQUESTS: u32 = 429;
const SERVER_ERRORS: std::ops::RangeInclusive<u32> = 500..=599;

/// A service that asks to be left alone for longer is left alone for this long.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// The flag of attempts that are used up, where none says more.
const USED_UP: &str = "upstream_retry_limit_exceeded";

/// The flag of a request, or a connection, that has taken as long as its proxy allows.
const TOO_LONG: &str = "duration_timeout";

/// The outcome of a request, or what else its entry is. `now` is for a `retry-after` that is a date.
pub(super) fn of_http(entry: &[u8], now: WallTime) -> Result<RecordOutcomeRequest, LogEntry> {
    let entry = read(entry, AccessLogType::DownstreamEnd)?;
    let code = entry.code();
    let of_response = by_grpc(&entry).unwrap_or_else(|| by_status(code));
    let is_answer = of_response == Judged::Success && code.is_some_and(|code| code < 400);
    let judged = match by_flags(entry.common.response_flags.as_ref()) {
        // Hedged attempts go on when the time of the last one is over, and one can still answer.
        Some(Judged::Failure(class)) if class == USED_UP && is_answer => Judged::Success,
        Some(judged) => judged,
        None => of_response,
    };
    let retry_after = match code {
        Some(TOO_MANY_REQUESTS | 503) => retry_after(&entry, now),
        _ => None,
    };
    of(&entry, judged, retry_after)
}

/// The outcome of a connection of TCP, or what else its entry is.
///
/// A client that connects, and leaves without a byte, as checks of health do, has a permit as well: Envoy asks when it has left, and
/// connects to nothing. And a connection may only have grown old, which is no fault of the service.
pub(super) fn of_tcp(entry: &[u8]) -> Result<RecordOutcomeRequest, LogEntry> {
    let entry = read(entry, AccessLogType::TcpConnectionEnd)?;
    let judged = match by_flags(entry.common.response_flags.as_ref()) {
        Some(Judged::Failure(class)) if class == TOO_LONG => None,
        judged => judged,
    };
    let was_reached = entry.common.upstream_remote_address.is_some();
    let judged = judged.unwrap_or(if was_reached { Judged::Success } else { Judged::Ignored });
    of(&entry, judged, None)
}

/// An entry of an `end`. By the number: there are kinds that are not known here, of the middle of a request.
fn read(entry: &[u8], end: AccessLogType) -> Result<Entry<'_>, LogEntry> {
    let entry = Entry::read(entry).map_err(|_| LogEntry::Undecodable)?;
    let is_end = [AccessLogType::NotSet, end].iter().any(|kind| *kind as i32 == entry.common.access_log_type);
    if is_end { Ok(entry) } else { Err(LogEntry::InProgress) }
}

/// What an entry says of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judged {
    Success,
    /// With its error class.
    Failure(String),
    Ignored,
}

fn of(
    entry: &Entry<'_>,
    judged: Judged,
    retry_after: Option<Duration>,
) -> Result<RecordOutcomeRequest, LogEntry> {
    let (permit, caller) = entry.permit().ok_or(LogEntry::NoPermit)?;
    let permit = STANDARD.decode(permit).unwrap_or_default();
    let (outcome, error_class) = match judged {
        Judged::Success => (Outcome::Success, String::new()),
        Judged::Failure(class) => (Outcome::Failure, class),
        Judged::Ignored => (Outcome::Ignored, String::new()),
    };
    Ok(RecordOutcomeRequest {
        permit: permit.into(),
        outcome: outcome as i32,
        error_class,
        duration: duration(&entry.common).map(time::to_duration),
        retry_after: retry_after.map(time::to_duration),
        caller: caller.to_owned(),
        ..RecordOutcomeRequest::default()
    })
}

/// How long the service took: from the first byte to it to the last one from it, or to the end of the request where none came. A time
/// that is none is left out.
fn duration(common: &Common) -> Option<Duration> {
    let read = |duration: &Option<prost_types::Duration>| time::duration((*duration)?).ok();
    let began = read(&common.time_to_first_upstream_tx_byte)?;
    let ended = read(&common.time_to_last_upstream_rx_byte).or_else(|| read(&common.duration))?;
    Some(ended.saturating_sub(began))
}

fn by_flags(flags: Option<&ResponseFlags>) -> Option<Judged> {
    let flags = flags?;
    let client_left = flags.downstream_connection_termination
        || flags.downstream_remote_reset
        || flags.downstream_protocol_error;
    // The proxy refused, or answered by itself: the service was not asked.
    let not_asked = flags.failed_local_healthcheck
        || flags.no_route_found
        || flags.fault_injected
        || flags.rate_limited
        || flags.rate_limit_service_error
        || flags.invalid_envoy_request_headers
        || flags.response_from_cache_filter
        || flags.no_filter_config_found
        || flags.overload_manager;
    if client_left || not_asked {
        return Some(Judged::Ignored);
    }
    // What says most comes first: the last of several attempts has the flag of its end, and that of the attempts used up.
    let failures = [
        (flags.upstream_connection_failure, "upstream_connection_failure"),
        (flags.upstream_connection_termination, "upstream_connection_termination"),
        (flags.upstream_remote_reset, "upstream_remote_reset"),
        (flags.upstream_protocol_error, "upstream_protocol_error"),
        (flags.upstream_request_timeout, "upstream_request_timeout"),
        (flags.upstream_max_stream_duration_reached, "upstream_max_stream_duration_reached"),
        (flags.stream_idle_timeout, "stream_idle_timeout"),
        (flags.duration_timeout, TOO_LONG),
        (flags.no_healthy_upstream, "no_healthy_upstream"),
        (flags.dns_resolution_failure, "dns_resolution_failure"),
        (flags.no_cluster_found, "no_cluster_found"),
        (flags.upstream_overflow, "upstream_overflow"),
        (flags.local_reset, "local_reset"),
        (flags.upstream_retry_limit_exceeded, USED_UP),
    ];
    failures.iter().find(|(is_set, _)| *is_set).map(|(_, class)| Judged::Failure((*class).to_owned()))
}

/// None: it is no response of gRPC, or its status was not logged.
fn by_grpc(entry: &Entry<'_>) -> Option<Judged> {
    let status = |logged: Option<&str>| logged?.parse::<u32>().ok();
    let status = status(entry.trailer("grpc-status")).or_else(|| status(entry.header("grpc-status")))?;
    let class = match status {
        // The client gave up.
        1 => return Some(Judged::Ignored),
        2 => "grpc_unknown",
        4 => "grpc_deadline_exceeded",
        8 => "grpc_resource_exhausted",
        13 => "grpc_internal",
        14 => "grpc_unavailable",
        15 => "grpc_data_loss",
        _ => return Some(Judged::Success),
    };
    Some(Judged::Failure(class.to_owned()))
}

fn by_status(code: Option<u32>) -> Judged {
    match code {
        Some(code) if code == TOO_MANY_REQUESTS || SERVER_ERRORS.contains(&code) => {
            Judged::Failure(format!("http_{code}"))
        }
        Some(0) | None => Judged::Ignored,
        Some(_) => Judged::Success,
    }
}

/// Seconds, or a date.
fn retry_after(entry: &Entry<'_>, now: WallTime) -> Option<Duration> {
    let asked = RetryAfter::parse(entry.header("retry-after")?)?.after(now);
    Some(asked.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use breaker::Time;
    use breakerd_api::envoy_api::envoy::config::core::v3::{Address, Metadata};
    use breakerd_api::envoy_api::envoy::data::accesslog::v3::{
        AccessLogCommon, HttpAccessLogEntry, HttpResponseProperties, TcpAccessLogEntry,
    };
    use prost::Message as _;
    use prost_types::value::Kind;
    use prost_types::{Struct, Value};

    use super::super::wire::{CALLER_FIELD, PERMIT_FIELD};
    use super::*;

    const NOW: WallTime = WallTime(Time::from_micros(1_800_000_000_000_000));

    fn of_http(entry: &HttpAccessLogEntry, now: WallTime) -> Result<RecordOutcomeRequest, LogEntry> {
        super::of_http(&entry.encode_to_vec(), now)
    }

    fn kept() -> Metadata {
        let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        let fields = [(PERMIT_FIELD, "AQID"), (CALLER_FIELD, "spiffe://mesh/shop"), ("service", "db")];
        let kept = Struct { fields: fields.map(|(name, text)| (name.to_owned(), value(text))).into() };
        let other = Struct { fields: [("x".to_owned(), value("y"))].into() };
        let filters = [("a.filter", other), ("envoy.filters.http.ext_authz", kept)];
        Metadata { filter_metadata: filters.map(|(name, kept)| (name.to_owned(), kept)).into() }
    }

    fn common(flags: ResponseFlags) -> AccessLogCommon {
        let millis = |millis| Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
        AccessLogCommon {
            time_to_first_upstream_tx_byte: millis(5),
            time_to_last_upstream_rx_byte: millis(25),
            upstream_remote_address: Some(Address::default()),
            response_flags: Some(flags),
            metadata: Some(kept()),
            duration: millis(405),
            access_log_type: AccessLogType::DownstreamEnd as i32,
        }
    }

    fn entry(code: u32, flags: ResponseFlags) -> HttpAccessLogEntry {
        let response = HttpResponseProperties {
            response_code: Some(code).filter(|code| *code > 0),
            ..Default::default()
        };
        HttpAccessLogEntry { common_properties: Some(common(flags)), response: Some(response) }
    }

    fn judged(entry: &HttpAccessLogEntry) -> (Outcome, String) {
        let outcome = of_http(entry, NOW).unwrap();
        (outcome.outcome(), outcome.error_class)
    }

    /// The cases that were measured with Envoy 1.40.
    #[test]
    fn flags_decide_before_codes() {
        let none = ResponseFlags::default();
        let failure = |class: &str| (Outcome::Failure, class.to_owned());
        let ignored = (Outcome::Ignored, String::new());
        let timed_out = ResponseFlags { upstream_request_timeout: true, ..none };
        let used_up = ResponseFlags { upstream_retry_limit_exceeded: true, ..timed_out };
        let last_of_several = ResponseFlags { upstream_retry_limit_exceeded: true, ..none };
        let broke_off = ResponseFlags { upstream_protocol_error: true, ..none };
        let left = ResponseFlags { downstream_connection_termination: true, ..timed_out };
        let cases = [
            (200, none, (Outcome::Success, String::new())),
            (404, none, (Outcome::Success, String::new())),
            (429, none, failure("http_429")),
            (500, none, failure("http_500")),
            (504, timed_out, failure("upstream_request_timeout")),
            (200, timed_out, failure("upstream_request_timeout")),
            (504, used_up, failure("upstream_request_timeout")),
            (500, last_of_several, failure("upstream_retry_limit_exceeded")),
            // Retried as a failure, by `retriable_status_codes`.
            (409, last_of_several, failure("upstream_retry_limit_exceeded")),
            // Hedged: the time of each attempt was over, and one has answered all the same.
            (200, last_of_several, (Outcome::Success, String::new())),
            (200, broke_off, failure("upstream_protocol_error")),
            (503, ResponseFlags { no_healthy_upstream: true, ..none }, failure("no_healthy_upstream")),
            (503, ResponseFlags { upstream_overflow: true, ..none }, failure("upstream_overflow")),
            (0, left, ignored.clone()),
            (0, ResponseFlags { downstream_remote_reset: true, ..none }, ignored.clone()),
            (0, none, ignored.clone()),
            (429, ResponseFlags { rate_limited: true, ..none }, ignored),
        ];
        for (code, flags, expected) in cases {
            assert_eq!(judged(&entry(code, flags)), expected, "{code} {flags:?}");
        }
    }

    #[test]
    fn grpc_is_judged_by_its_status_in_trailers_or_headers() {
        let failure = |class: &str| (Outcome::Failure, class.to_owned());
        for (of_headers, of_trailers, expected) in [
            ("", "0", (Outcome::Success, String::new())),
            ("", "5", (Outcome::Success, String::new())),
            ("", "1", (Outcome::Ignored, String::new())),
            ("", "14", failure("grpc_unavailable")),
            ("4", "", failure("grpc_deadline_exceeded")),
            // The trailers are of the end.
            ("0", "13", failure("grpc_internal")),
            ("x", "", (Outcome::Success, String::new())),
        ] {
            let mut entry = entry(200, ResponseFlags::default());
            let response = entry.response.as_mut().unwrap();
            for (status, headers) in
                [(of_headers, &mut response.response_headers), (of_trailers, &mut response.response_trailers)]
            {
                if !status.is_empty() {
                    headers.insert("grpc-status".to_owned(), status.to_owned());
                }
            }
            assert_eq!(judged(&entry), expected, "{of_headers} {of_trailers}");
        }
        let used_up = ResponseFlags { upstream_retry_limit_exceeded: true, ..ResponseFlags::default() };
        for (status, expected) in
            [("0", (Outcome::Success, String::new())), ("14", failure("upstream_retry_limit_exceeded"))]
        {
            let mut entry = entry(200, used_up);
            let trailers = &mut entry.response.as_mut().unwrap().response_trailers;
            trailers.insert("grpc-status".to_owned(), status.to_owned());
            assert_eq!(judged(&entry), expected, "attempts used up, and {status}");
        }
    }

    #[test]
    fn an_outcome_has_its_permit_its_caller_and_the_time_that_the_service_took() {
        let mut of_end = entry(503, ResponseFlags::default());
        of_end.response.as_mut().unwrap().response_headers.insert("retry-after".to_owned(), " 7 ".to_owned());
        let outcome = of_http(&of_end, NOW).unwrap();
        let millis = |millis| Some(prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 });
        assert_eq!((&*outcome.permit, &*outcome.caller), (&[1, 2, 3][..], "spiffe://mesh/shop"));
        assert_eq!((outcome.duration, outcome.retry_after.map(|asked| asked.seconds)), (millis(20), Some(7)));
        // It never answered: until the end of the request.
        of_end.common_properties.as_mut().unwrap().time_to_last_upstream_rx_byte = None;
        assert_eq!(of_http(&of_end, NOW).unwrap().duration, millis(400));
    }

    #[test]
    fn retry_after_may_be_a_date_and_is_bounded() {
        let in_seconds = |text: &str, code| {
            let mut entry = entry(code, ResponseFlags::default());
            entry
                .response
                .as_mut()
                .unwrap()
                .response_headers
                .insert("retry-after".to_owned(), text.to_owned());
            of_http(&entry, NOW).unwrap().retry_after.map(|asked| asked.seconds)
        };
        assert_eq!(in_seconds("Fri, 15 Jan 2027 08:01:00 GMT", 429), Some(60));
        assert_eq!(in_seconds("Fri, 15 Jan 2021 08:01:00 GMT", 503), Some(0));
        assert_eq!(in_seconds("99999999999", 503), Some(86_400));
        assert_eq!(in_seconds("soon", 503), None);
        assert_eq!(in_seconds("7", 500), None, "only of those that mean it");
    }

    #[test]
    fn only_the_end_of_a_request_that_had_a_permit_is_its_outcome() {
        let mut begins = entry(200, ResponseFlags::default());
        // DownstreamStart
        begins.common_properties.as_mut().unwrap().access_log_type = 4;
        assert_eq!(of_http(&begins, NOW), Err(LogEntry::InProgress));
        let mut denied = entry(503, ResponseFlags::default());
        denied.common_properties.as_mut().unwrap().metadata = None;
        assert_eq!(of_http(&denied, NOW), Err(LogEntry::NoPermit));
        assert_eq!(of_http(&HttpAccessLogEntry::default(), NOW), Err(LogEntry::NoPermit));
        let refused = ResponseFlags { upstream_connection_failure: true, ..ResponseFlags::default() };
        assert_eq!(of_connection(common(refused)), Err(LogEntry::InProgress));
    }

    /// What Envoy 1.40 logs of connections.
    #[test]
    fn a_connection_that_reached_no_service_says_nothing_of_it() {
        let none = ResponseFlags::default();
        let refused = ResponseFlags { upstream_connection_failure: true, ..none };
        let reset = ResponseFlags { upstream_connection_termination: true, ..none };
        let no_host = ResponseFlags { no_healthy_upstream: true, ..none };
        let old = ResponseFlags { duration_timeout: true, ..none };
        for (flags, was_reached, expected) in [
            (none, true, Outcome::Success),
            (old, true, Outcome::Success),
            (none, false, Outcome::Ignored),
            (old, false, Outcome::Ignored),
            (refused, true, Outcome::Failure),
            (reset, true, Outcome::Failure),
            (no_host, false, Outcome::Failure),
        ] {
            let mut common = common(flags);
            common.access_log_type = AccessLogType::TcpConnectionEnd as i32;
            common.upstream_remote_address = was_reached.then(Address::default);
            assert_eq!(of_connection(common), Ok(expected), "{was_reached} {flags:?}");
        }
    }

    fn of_connection(common: AccessLogCommon) -> Result<Outcome, LogEntry> {
        let entry = TcpAccessLogEntry { common_properties: Some(common) };
        of_tcp(&entry.encode_to_vec()).map(|outcome| outcome.outcome())
    }

    #[test]
    fn a_permit_is_taken_from_the_filter_that_checked_and_from_no_other() {
        let mut entry = entry(500, ResponseFlags::default());
        let of_a_client = Struct { fields: [(PERMIT_FIELD.to_owned(), Value::from("BAUG"))].into() };
        let filters =
            &mut entry.common_properties.as_mut().unwrap().metadata.as_mut().unwrap().filter_metadata;
        filters.insert("a.first".to_owned(), of_a_client.clone());
        filters.insert("my.tags".to_owned(), of_a_client);
        assert_eq!(&*of_http(&entry, NOW).unwrap().permit, &[1, 2, 3]);
        let filters =
            &mut entry.common_properties.as_mut().unwrap().metadata.as_mut().unwrap().filter_metadata;
        filters.remove("envoy.filters.http.ext_authz");
        assert_eq!(of_http(&entry, NOW), Err(LogEntry::NoPermit));
    }

    /// Filters keep what a client sent in a header as it came, and tokens as deep as they are.
    #[test]
    fn what_other_filters_keep_costs_no_outcome() {
        let mut written = entry(500, ResponseFlags::default()).encode_to_vec();
        let deep = (0..400).fold(Vec::new(), |inner, _| field(6, &field(1, &inner)));
        for value in [field(3, b"\xff\xfe"), deep] {
            let tags = field(1, &[field(1, b"tag"), field(2, &value)].concat());
            let filter = field(1, &[field(1, b"my.tags"), field(2, &tags)].concat());
            let mut common = common(ResponseFlags::default()).encode_to_vec();
            common.extend(field(17, &[filter, kept().encode_to_vec()].concat()));
            written.extend(field(1, &common));
            assert_eq!(&*super::of_http(&written, NOW).unwrap().permit, &[1, 2, 3]);
        }
        let response = field(4, &[field(1, b"retry-after"), field(2, b"\xff")].concat());
        written.extend(field(4, &response));
        assert!(super::of_http(&written, NOW).is_ok());
        written.extend([0x0a, 0x7f]);
        assert_eq!(super::of_http(&written, NOW), Err(LogEntry::Undecodable));
    }

    fn field(number: u32, content: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        prost::encoding::bytes::encode(number, &content.to_vec(), &mut field);
        field
    }

    #[test]
    fn times_that_are_none_are_left_out() {
        let wrong =
            [(i64::MIN, i32::MIN), (i64::MAX, i32::MAX), (-1, 0), (0, i32::MAX), (315_576_000_001, 0)];
        for (seconds, nanos) in wrong {
            let time = Some(prost_types::Duration { seconds, nanos });
            let mut entry = entry(500, ResponseFlags::default());
            let common = entry.common_properties.as_mut().unwrap();
            (common.time_to_last_upstream_rx_byte, common.duration) = (time, time);
            assert_eq!(of_http(&entry, NOW).unwrap().duration, None, "{seconds} {nanos}");
            entry.common_properties.as_mut().unwrap().time_to_first_upstream_tx_byte = time;
            assert_eq!(of_http(&entry, NOW).unwrap().duration, None, "{seconds} {nanos}");
        }
    }
}
