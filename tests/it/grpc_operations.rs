//! `OperationsService` over a real channel, on SQLite.

use std::time::Duration;

use breakerd_api::v1::{
    self, GetBreakerRequest, ListBreakersRequest, ListTransitionsRequest, Outcome, State, TransitionOrder,
    TransitionReason,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::grpc_world::{START, World, ask, report, trip};

fn faults(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages take an Option")]
fn at(seconds: i64, nanos: i32) -> Option<prost_types::Timestamp> {
    let start = i64::try_from(START.as_micros() / 1_000_000).unwrap();
    Some(prost_types::Timestamp { seconds: start + seconds, nanos })
}

#[tokio::test]
async fn a_breaker_is_shown_as_it_stands() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let get = |name: &str| GetBreakerRequest { service: "database".into(), name: name.into() };

    let allowed = breakers.allow_request(ask("database", "reads")).await.unwrap().into_inner();
    breakers.record_outcome(report(&allowed, Outcome::Failure)).await.unwrap();
    let shown = operations.get_breaker(get("reads")).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!((shown.service.as_str(), shown.name.as_str()), ("database", "reads"));
    assert_eq!((shown.state(), shown.epoch, shown.consecutive_failures), (State::Closed, 0, 1));
    let window = shown.window.unwrap();
    assert_eq!((window.calls, window.failures, window.failure_rate), (1, 1, None));
    let thresholds = shown.thresholds.unwrap();
    assert_eq!((thresholds.failure_threshold, thresholds.success_threshold), (Some(5), Some(2)));
    assert_eq!(thresholds.failure_rate_threshold, None);
    assert_eq!(thresholds.wait_duration_in_open_state.unwrap().seconds, 60);
    assert_eq!((shown.last_transition, shown.half_open, shown.open_until), (None, None, None));
    assert_eq!(shown.created_at, at(0, 0));

    trip(&mut breakers, "database", "").await;
    world.clock.advance(Duration::from_secs(20));
    let shown = operations.get_breaker(get("")).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!(
        (shown.state(), shown.epoch, shown.open_count, shown.name.as_str()),
        (State::Open, 1, 1, "database")
    );
    assert_eq!((shown.opened_at, shown.open_until), (at(0, 0), at(60, 0)));
    assert_eq!(shown.remaining_wait.unwrap().seconds, 40);
    assert_eq!((shown.window, shown.consecutive_failures), (None, 0));
    assert_eq!(shown.counters.unwrap(), v1::Counters { failed: 5, rejected: 1, ..v1::Counters::default() });
    let last = shown.last_transition.unwrap();
    assert_eq!((last.from_state(), last.to_state(), last.epoch), (State::Closed, State::Open, Some(1)));
    assert_eq!(last.reason(), TransitionReason::ConsecutiveFailures);

    // A wait that is over shows as HALF_OPEN though nobody called since.
    world.clock.advance(Duration::from_secs(40));
    let shown = operations.get_breaker(get("")).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!(shown.state(), State::HalfOpen);
    assert_eq!(shown.half_open.unwrap(), v1::HalfOpenStats { permitted: 2, ..v1::HalfOpenStats::default() });
    assert_eq!((shown.open_until, shown.remaining_wait, shown.window), (None, None, None));
    world.end().await;
}

#[tokio::test]
async fn a_breaker_that_is_not_there_is_not_found() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    let request = GetBreakerRequest { service: "nobody".into(), name: String::new() };
    let status = operations.get_breaker(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let resource = status.get_details_resource_info().unwrap();
    assert_eq!(
        (resource.resource_type.as_str(), resource.resource_name.as_str()),
        ("breakerd.v1.Breaker", "nobody/nobody")
    );
    assert_eq!(status.get_details_error_info().unwrap().reason, "BREAKER_NOT_FOUND");
    let request = GetBreakerRequest { service: String::new(), name: "\u{0}".into() };
    let status = operations.get_breaker(request).await.unwrap_err();
    assert_eq!(faults(&status), ["service", "name"]);
    assert_eq!(world.app.loaded().unwrap().engine.len(), 1, "looking creates nothing");
    world.end().await;
}

#[tokio::test]
async fn a_list_of_breakers_goes_page_by_page_in_order() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    for name in ["", "a/1", "a/2", "b"] {
        breakers.allow_request(ask("zoo", name)).await.unwrap();
        breakers.allow_request(ask("ant", name)).await.unwrap();
    }
    trip(&mut breakers, "zoo", "a/2").await;

    let mut request = ListBreakersRequest { page_size: 4, ..ListBreakersRequest::default() };
    let mut names = Vec::new();
    loop {
        let page = operations.list_breakers(request.clone()).await.unwrap().into_inner();
        assert!(page.breakers.len() <= 4);
        names.extend(page.breakers.iter().map(|breaker| format!("{} {}", breaker.service, breaker.name)));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
        request.page_size = 3;
    }
    let expected = [
        "ant a/1",
        "ant a/2",
        "ant ant",
        "ant b",
        "sentinel sentinel",
        "zoo a/1",
        "zoo a/2",
        "zoo b",
        "zoo zoo",
    ];
    assert_eq!(names, expected);

    let mut count = async |request: ListBreakersRequest| {
        let page = operations.list_breakers(request).await.unwrap().into_inner();
        assert_eq!(page.next_page_token, "");
        page.breakers.len()
    };
    let all = ListBreakersRequest::default();
    assert_eq!(count(ListBreakersRequest { page_size: i32::MAX, ..all.clone() }).await, 9);
    assert_eq!(count(ListBreakersRequest { page_size: 9, ..all.clone() }).await, 9);
    assert_eq!(count(ListBreakersRequest { service: "zoo".into(), ..all.clone() }).await, 4);
    assert_eq!(count(ListBreakersRequest { name_prefix: "a/".into(), ..all.clone() }).await, 4);
    let open = vec![State::Open as i32, State::Open as i32];
    assert_eq!(count(ListBreakersRequest { states: open.clone(), ..all.clone() }).await, 1);
    assert_eq!(count(ListBreakersRequest { states: open, service: "ant".into(), ..all }).await, 0);
    world.end().await;
}

#[tokio::test]
async fn a_page_token_is_good_for_its_own_list_only() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    for name in ["1", "2", "3"] {
        breakers.allow_request(ask("a", name)).await.unwrap();
    }
    let list = ListBreakersRequest { page_size: 1, service: "a".into(), ..ListBreakersRequest::default() };
    let token = operations.list_breakers(list.clone()).await.unwrap().into_inner().next_page_token;
    assert_ne!(token, "");
    let mut tampered = token.clone();
    tampered.replace_range(4..5, if &token[4..5] == "A" { "B" } else { "A" });
    for request in [
        ListBreakersRequest { page_token: tampered, ..list.clone() },
        ListBreakersRequest { page_token: token[1..].to_owned(), ..list.clone() },
        ListBreakersRequest { page_token: "\u{0}".into(), ..list.clone() },
        ListBreakersRequest { page_token: "A".repeat(10_000), ..list.clone() },
        ListBreakersRequest { page_token: token.clone(), service: String::new(), ..list.clone() },
        ListBreakersRequest { page_token: token.clone(), name_prefix: "1".into(), ..list.clone() },
    ] {
        let status = operations.list_breakers(request).await.unwrap_err();
        assert_eq!(faults(&status), ["page_token"]);
    }
    let transitions = ListTransitionsRequest {
        page_size: 1,
        page_token: token,
        service: "a".into(),
        ..ListTransitionsRequest::default()
    };
    assert_eq!(faults(&operations.list_transitions(transitions).await.unwrap_err()), ["page_token"]);
    world.end().await;
}

#[tokio::test]
async fn a_wrong_filter_is_named() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    let request = ListBreakersRequest {
        page_size: -1,
        page_token: "x".into(),
        service: "a/".into(),
        name_prefix: "\n".into(),
        states: vec![1, 0, 7, -1],
    };
    let status = operations.list_breakers(request).await.unwrap_err();
    assert_eq!(
        faults(&status),
        ["page_size", "service", "name_prefix", "states[1]", "states[2]", "states[3]", "page_token"]
    );
    let request = ListTransitionsRequest {
        page_size: i32::MIN,
        service: " ".into(),
        name: "x".repeat(129),
        states: vec![i32::MAX; 65],
        from_time: Some(prost_types::Timestamp { seconds: 1, nanos: -1 }),
        to_time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }),
        order: 3,
        ..ListTransitionsRequest::default()
    };
    let status = operations.list_transitions(request).await.unwrap_err();
    assert_eq!(faults(&status), ["page_size", "service", "name", "states", "from_time", "to_time", "order"]);
    for (from_time, to_time) in [(at(1, 0), at(1, 0)), (at(2, 0), at(1, 0))] {
        let request = ListTransitionsRequest { from_time, to_time, ..ListTransitionsRequest::default() };
        assert_eq!(faults(&operations.list_transitions(request).await.unwrap_err()), ["from_time"]);
    }
    world.end().await;
}

#[tokio::test]
async fn the_history_is_listed_filtered_and_page_by_page() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    trip(&mut breakers, "a", "").await;
    world.clock.advance(Duration::from_mins(1));
    trip(&mut breakers, "b", "").await;
    for _ in 0..2 {
        let probe = breakers.allow_request(ask("a", "")).await.unwrap().into_inner();
        breakers.record_outcome(report(&probe, Outcome::Success)).await.unwrap();
    }
    world.write_behind().await;

    let all = ListTransitionsRequest::default();
    let mut list = async |request: ListTransitionsRequest| {
        let page = operations.list_transitions(request).await.unwrap().into_inner();
        let told = |row: &v1::Transition| format!("{} {}", row.service, row.to_state().as_str_name());
        (page.transitions.iter().map(told).collect::<Vec<_>>(), page)
    };
    let newest = ["a STATE_CLOSED", "a STATE_HALF_OPEN", "b STATE_OPEN", "a STATE_OPEN"];
    let (told, page) = list(all.clone()).await;
    assert_eq!(told, newest);
    let opened = &page.transitions[3];
    assert_eq!(
        (opened.from_state(), opened.reason()),
        (State::Closed, TransitionReason::ConsecutiveFailures)
    );
    assert_eq!((opened.epoch, opened.base_epoch, opened.open_count), (Some(1), 0, 1));
    assert_eq!((opened.occurred_at, opened.wait.unwrap().seconds), (at(0, 0), 60));
    assert_eq!((opened.replica.as_str(), opened.actor.as_str()), ("here", ""));
    assert_eq!(opened.stats.as_ref().unwrap().consecutive_failures, 5);
    assert!(opened.revision.is_some() && opened.recorded_at.is_some() && !opened.id.is_empty());

    let oldest = ListTransitionsRequest { order: TransitionOrder::OldestFirst as i32, ..all.clone() };
    let mut request = ListTransitionsRequest { page_size: 3, ..oldest.clone() };
    let (mut told, page) = list(request.clone()).await;
    request.page_token = page.next_page_token;
    let (rest, page) = list(request.clone()).await;
    told.extend(rest);
    assert_eq!(told.iter().rev().collect::<Vec<_>>(), newest.iter().collect::<Vec<_>>());
    assert_eq!(page.next_page_token, "");

    let closed = vec![State::Closed as i32];
    for (request, expected) in [
        (ListTransitionsRequest { service: "b".into(), ..all.clone() }, &newest[2..3]),
        (
            ListTransitionsRequest { name: "a".into(), ..all.clone() },
            &["a STATE_CLOSED", "a STATE_HALF_OPEN", "a STATE_OPEN"],
        ),
        (ListTransitionsRequest { states: closed, ..all.clone() }, &newest[..1]),
        (ListTransitionsRequest { from_time: at(0, 1), ..all.clone() }, &newest[..3]),
        (ListTransitionsRequest { to_time: at(0, 1), ..all.clone() }, &newest[3..]),
        (ListTransitionsRequest { to_time: at(0, 0), ..all.clone() }, &[]),
        (ListTransitionsRequest { from_time: at(60, 0), to_time: at(60, 1), ..all.clone() }, &newest[..3]),
        (ListTransitionsRequest { from_time: at(61, 0), ..all.clone() }, &[]),
    ] {
        assert_eq!(list(request.clone()).await.0, expected, "{request:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_and_decisions_go_on() {
    let world = World::new().await;
    world.store.close().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let status = operations.list_transitions(ListTransitionsRequest::default()).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "store unavailable"));
    assert_eq!(status.get_details_error_info().unwrap().reason, "STORE_UNAVAILABLE");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    trip(&mut breakers, "a", "").await;
    world.end().await;
}
