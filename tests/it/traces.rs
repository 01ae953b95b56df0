//! Spans: which calls have one, under which parent, and what is in them.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use breakerd::metrics::DroppedSpans;
use breakerd::traces::{EndedSpan, SpanQueue};
use breakerd_api::v1;
use breakerd_common::clock::Clock as _;
use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry_sdk::trace::SpanData;
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::grpc_world::{START, World, ask, report};

/// A caller that samples.
const SAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const ALL: u32 = 1_000_000;

fn within<T>(message: T, headers: &[(&'static str, &str)]) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().append(*name, value.parse().unwrap());
    }
    request
}

/// Those that have ended.
fn ended(queue: &mut SpanQueue) -> Vec<SpanData> {
    let mut spans = Vec::new();
    queue.take_ended(&mut spans);
    spans.into_iter().map(EndedSpan::into_data).collect()
}

fn attributes(span: &SpanData) -> BTreeMap<String, String> {
    span.attributes.iter().map(|pair| (pair.key.to_string(), pair.value.to_string())).collect()
}

#[track_caller]
fn assert_has(span: &SpanData, expected: &[(&str, &str)]) {
    let attributes = attributes(span);
    for (key, value) in expected {
        assert_eq!(attributes.get(*key).map(String::as_str), Some(*value), "{key} of {attributes:?}");
    }
}

fn named<'a>(spans: &'a [SpanData], name: &str) -> Vec<&'a SpanData> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[tokio::test]
async fn a_call_of_a_caller_that_samples_has_a_span_below_the_callers() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.breakers().await;
    let state = ("tracestate", "vendor=1");
    let request = within(ask("payments", "eu"), &[("traceparent", SAMPLED), state]);
    let allowed = client.allow_request(request).await.unwrap().into_inner();
    let spans = ended(&mut queue);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(span.name, "breakerd.v1.BreakerService/AllowRequest");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(span.span_context.trace_id().to_string(), TRACE);
    assert_eq!(
        (span.parent_span_id.to_string(), span.parent_span_is_remote),
        ("b7ad6b7169203331".into(), true)
    );
    assert_eq!(span.span_context.trace_state().header(), "vendor=1");
    assert_eq!(span.status, Status::Unset);
    let at = SystemTime::UNIX_EPOCH + START.since(breaker::Time::ZERO);
    assert_eq!((span.start_time, span.end_time), (at, at), "by the clock of breakerd");
    assert_has(
        span,
        &[
            ("rpc.system.name", "grpc"),
            ("rpc.method", "breakerd.v1.BreakerService/AllowRequest"),
            ("rpc.response.status_code", "OK"),
            ("breakerd.service", "payments"),
            ("breakerd.name", "eu"),
            ("breakerd.allowed", "true"),
            ("breakerd.state", "CLOSED"),
            ("breakerd.reason", "CLOSED"),
            ("breakerd.epoch", "0"),
        ],
    );

    let request = within(report(&allowed, v1::Outcome::Failure), &[("traceparent", SAMPLED)]);
    client.record_outcome(request).await.unwrap();
    let spans = ended(&mut queue);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_has(
        span,
        &[
            ("breakerd.service", "payments"),
            ("breakerd.name", "eu"),
            ("breakerd.outcome", "FAILURE"),
            ("breakerd.result", "RECORDED"),
            ("breakerd.state", "CLOSED"),
        ],
    );
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn the_caller_decides_and_a_share_of_what_has_none_is_sampled() {
    let unsampled = SAMPLED.replace("-01", "-00");
    for (roots, headers, expected) in [
        (0, vec![], 0),
        (ALL, vec![], 1),
        (ALL, vec![("traceparent", unsampled.as_str())], 0),
        (0, vec![("traceparent", "nonsense")], 0),
        (ALL, vec![("traceparent", "nonsense")], 1),
    ] {
        let (world, mut queue) = World::traced(roots, 100).await;
        let mut client = world.breakers().await;
        client.allow_request(within(ask("payments", ""), &headers)).await.unwrap();
        let spans = ended(&mut queue);
        assert_eq!(spans.len(), expected, "{roots} {headers:?}");
        assert!(spans.iter().all(|span| span.parent_span_id == SpanId::INVALID));
        drop(client);
        world.end().await;
    }
}

#[tokio::test]
async fn health_checks_have_no_spans() {
    let (world, mut queue) = World::traced(ALL, 100).await;
    let mut client = HealthClient::new(world.channel().await);
    let check = within(HealthCheckRequest { service: String::new() }, &[("traceparent", SAMPLED)]);
    client.check(check).await.unwrap();
    assert!(ended(&mut queue).is_empty());
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_transition_is_below_the_call_that_caused_it_and_the_store_below_the_transition() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.breakers().await;
    let mut permits = Vec::new();
    for _ in 0..3 {
        permits.push(client.allow_request(ask("sentinel", "")).await.unwrap().into_inner());
    }
    for (permit, headers) in permits.iter().zip([vec![], vec![], vec![("traceparent", SAMPLED)]]) {
        client.record_outcome(within(report(permit, v1::Outcome::Failure), &headers)).await.unwrap();
    }
    world.write_behind().await;
    let spans = ended(&mut queue);
    let call = named(&spans, "breakerd.v1.BreakerService/RecordOutcome")[0];
    let transition = named(&spans, "transition to OPEN")[0];
    let store = named(&spans, "store propose")[0];
    assert_eq!(spans.len(), 3, "{spans:?}");
    assert!(spans.iter().all(|span| span.span_context.trace_id().to_string() == TRACE));
    assert_eq!(transition.parent_span_id, call.span_context.span_id());
    assert_eq!(store.parent_span_id, transition.span_context.span_id());
    assert_has(call, &[("breakerd.state", "OPEN"), ("breakerd.epoch", "1")]);
    assert_has(
        transition,
        &[
            ("breakerd.service", "sentinel"),
            ("breakerd.name", "sentinel"),
            ("breakerd.transition.from", "CLOSED"),
            ("breakerd.transition.to", "OPEN"),
            ("breakerd.transition.reason", "CONSECUTIVE_FAILURES"),
            ("breakerd.transition.consecutive_failures", "3"),
            ("breakerd.epoch", "1"),
        ],
    );
    assert_has(store, &[("db.system.name", "sqlite"), ("breakerd.store.transitions", "1")]);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_transaction_of_several_transitions_is_linked_with_each() {
    let (world, mut queue) = World::traced(ALL, 1_000).await;
    let mut client = world.breakers().await;
    for name in ["a", "b"] {
        for _ in 0..3 {
            let permit = client.allow_request(ask("sentinel", name)).await.unwrap().into_inner();
            client.record_outcome(report(&permit, v1::Outcome::Failure)).await.unwrap();
        }
    }
    // Both wait in the journal until now.
    world.write_behind().await;
    let spans = ended(&mut queue);
    let opened: Vec<_> =
        named(&spans, "transition to OPEN").iter().map(|it| it.span_context.span_id()).collect();
    let store = named(&spans, "store propose")[0];
    let linked: Vec<_> = store.links.iter().map(|link| link.span_context.span_id()).collect();
    assert_eq!((opened.len(), &linked), (2, &opened));
    assert_eq!(store.parent_span_id, SpanId::INVALID);

    // By time, without a call: a trace of its own, as the share says.
    world.clock.advance(Duration::from_mins(3));
    world.app.loaded().unwrap().engine.tick(world.clock.now());
    let spans = ended(&mut queue);
    let half_open = named(&spans, "transition to HALF_OPEN");
    assert_eq!(half_open.len(), 2, "{spans:?}");
    assert!(half_open.iter().all(|span| span.parent_span_id == SpanId::INVALID));
    world.write_behind().await;
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn what_a_call_asks_of_the_store_is_below_it() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.operations().await;
    let list = within(v1::ListTransitionsRequest::default(), &[("traceparent", SAMPLED)]);
    client.list_transitions(list).await.unwrap();
    let spans = ended(&mut queue);
    let call = named(&spans, "breakerd.v1.OperationsService/ListTransitions")[0];
    let store = named(&spans, "store transitions")[0];
    assert_eq!(store.parent_span_id, call.span_context.span_id());

    // A change goes on in a task of its own.
    let mut client = world.configs().await;
    let thresholds = v1::Thresholds { failure_threshold: Some(7), ..v1::Thresholds::default() };
    let update = v1::UpdateConfigRequest {
        service: "payments".to_owned(),
        thresholds: Some(thresholds),
        reason: "quieter".to_owned(),
        ..v1::UpdateConfigRequest::default()
    };
    client.update_config(within(update, &[("traceparent", SAMPLED)])).await.unwrap();
    let spans = ended(&mut queue);
    let call = named(&spans, "breakerd.v1.ConfigService/UpdateConfig")[0];
    let store = named(&spans, "store write_config")[0];
    assert_eq!(store.parent_span_id, call.span_context.span_id());
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_call_that_breakerd_fails_is_an_error_and_one_of_a_bad_request_is_none() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.breakers().await;
    let wrong = within(ask(&"x".repeat(2_000), ""), &[("traceparent", SAMPLED)]);
    client.allow_request(wrong).await.unwrap_err();
    let spans = ended(&mut queue);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(span.status, Status::Unset);
    assert_has(span, &[("rpc.response.status_code", "INVALID_ARGUMENT")]);
    assert_eq!(attributes(span)["breakerd.service"].len(), 256, "a text of a caller is cut");
    assert_eq!(attributes(span).get("breakerd.allowed"), None);

    drop(client);
    world.end().await;

    let (world, mut queue) = World::unloaded_traced(0, 100).await;
    let mut client = world.breakers().await;
    client.allow_request(within(ask("payments", ""), &[("traceparent", SAMPLED)])).await.unwrap_err();
    let spans = ended(&mut queue);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    assert!(matches!(span.status, Status::Error { .. }));
    assert_has(span, &[("error.type", "UNAVAILABLE")]);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_batch_says_how_many_are_allowed() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.breakers().await;
    let requests = vec![ask("payments", "a"), ask("payments", "b"), ask("no service!", "")];
    let batch = within(v1::AllowRequestsRequest { requests }, &[("traceparent", SAMPLED)]);
    client.allow_requests(batch).await.unwrap();
    let spans = ended(&mut queue);
    assert_has(
        &spans[0],
        &[("breakerd.batch.size", "3"), ("breakerd.batch.allowed", "2"), ("breakerd.batch.errors", "1")],
    );
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn spans_that_find_no_room_are_dropped_and_counted_and_calls_go_on() {
    let (world, mut queue) = World::traced(ALL, 2).await;
    let mut client = world.breakers().await;
    for _ in 0..5 {
        assert!(client.allow_request(ask("payments", "")).await.unwrap().into_inner().allowed);
    }
    assert_eq!(world.app.metrics.tracing.dropped(DroppedSpans::QueueFull).get(), 3);
    assert_eq!(ended(&mut queue).len(), 2);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_caller_cannot_make_spans_long() {
    let (world, mut queue) = World::traced(0, 100).await;
    let mut client = world.breakers().await;
    let (state, baggage) = (format!("a={}", "x".repeat(600)), format!("a={}", "y".repeat(8_000)));
    let headers = [("traceparent", SAMPLED), ("tracestate", &*state), ("baggage", &*baggage)];
    client.allow_request(within(ask("payments", ""), &headers)).await.unwrap();
    let spans = ended(&mut queue);
    assert_eq!(spans[0].span_context.trace_state().header(), "");
    assert!(!format!("{spans:?}").contains("yyyy"));
    drop(client);
    world.end().await;
}
