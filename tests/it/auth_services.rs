//! Identities that are for some services only: what they may ask of the others, and what they see of them.

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::v1;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::auth::{ALLOW, ALLOW_MANY, GET, HISTORY, LIST, RECORD, RECORD_MANY, add, security};
use crate::grpc_world::{World, ask, report};
use crate::raw::Raw;

#[tokio::test]
async fn a_caller_has_its_services_and_no_other() {
    let mut principals = Principals::default();
    let payments = add(&mut principals, "payments-api", &[Role::Caller], &["payments", "billing.*"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    for service in ["payments", "billing.eu"] {
        let answer = raw.call(ALLOW, &[&payments], &ask(service, "x")).await;
        assert_eq!(answer.code(), Code::Ok, "{service}");
    }
    let failure = |service: &str| v1::RecordOutcomeRequest {
        service: service.into(),
        outcome: v1::Outcome::Failure.into(),
        ..Default::default()
    };
    for service in ["billing", "sentinel", "payments2"] {
        for answer in [
            raw.call(ALLOW, &[&payments], &ask(service, "")).await,
            raw.call(RECORD, &[&payments], &failure(service)).await,
        ] {
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::PermissionDenied, "PERMISSION_DENIED")
            );
            let info = answer.status.get_details_error_info().unwrap();
            assert_eq!(info.metadata["service"], service);
            assert_eq!((&*info.metadata["right"], &*info.metadata["role"]), ("CALL", "caller"));
        }
    }
    assert!(
        world.app.loaded().unwrap().engine.view("billing", "", START_LATER).is_none(),
        "nothing was made"
    );
    // What is no service is said to be none.
    let answer = raw.call(ALLOW, &[&payments], &ask("no good", "")).await;
    assert_eq!(answer.code(), Code::InvalidArgument);
    drop(raw);
    world.end().await;
}

const START_LATER: breaker::Time = breaker::Time::from_micros(1_800_000_000_000_000);

#[tokio::test]
async fn in_a_batch_only_the_items_of_other_services_are_denied() {
    let mut principals = Principals::default();
    let caller = add(&mut principals, "payments-api", &[Role::Caller], &["payments"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let requests = ["payments", "sentinel", "no good", "payments"].map(|service| ask(service, "")).to_vec();
    let answer = raw.call(ALLOW_MANY, &[&caller], &v1::AllowRequestsRequest { requests }).await;
    let codes: Vec<_> = answer
        .read::<v1::AllowRequestsResponse>()
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            v1::allow_requests_result::Result::Response(response) => i32::from(!response.allowed),
            v1::allow_requests_result::Result::Error(error) => error.code,
        })
        .collect();
    assert_eq!(codes, [0, Code::PermissionDenied as i32, Code::InvalidArgument as i32, 0]);

    let failure = |service: &str| v1::RecordOutcomeRequest {
        service: service.into(),
        outcome: v1::Outcome::Failure.into(),
        ..Default::default()
    };
    let requests = vec![failure("sentinel"), failure("payments"), failure("sentinel")];
    let answer = raw
        .call(
            RECORD_MANY,
            &[&caller],
            &v1::RecordOutcomesRequest { requests, ..v1::RecordOutcomesRequest::default() },
        )
        .await;
    let errors: Vec<_> = answer
        .read::<v1::RecordOutcomesResponse>()
        .results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            v1::record_outcomes_result::Result::Response(_) => 0,
            v1::record_outcomes_result::Result::Error(error) => error.code,
        })
        .collect();
    assert_eq!(errors, [Code::PermissionDenied as i32, 0, Code::PermissionDenied as i32]);
    let sentinel = world.app.loaded().unwrap().engine.view("sentinel", "", START_LATER).unwrap();
    assert_eq!(sentinel.view.stats.consecutive_failures, 0, "what was denied changed nothing");
    let denied = world.app.metrics.access.refused_total.with_label_values(&["grpc", "permission_denied"]);
    assert_eq!(denied.get(), 3);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn whoever_was_given_a_permit_may_report_under_it() {
    let mut principals = Principals::default();
    let asks = add(&mut principals, "front", &[Role::Caller], &["payments"]).header();
    let tells = add(&mut principals, "worker", &[Role::Caller], &["nothing"]).header();
    let reads = add(&mut principals, "reader", &[Role::Reader], &[]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let allowed = raw.call(ALLOW, &[&asks], &ask("payments", "")).await.read::<v1::AllowRequestResponse>();
    let mut outcome = report(&allowed, v1::Outcome::Success);
    let denied = raw.call(RECORD, &[&reads], &outcome).await;
    assert_eq!(denied.code(), Code::PermissionDenied, "a reader reports nothing");
    let told = raw.call(RECORD, &[&tells], &outcome).await.read::<v1::RecordOutcomeResponse>();
    assert_eq!(told.result(), v1::RecordResult::Recorded);
    // A permit that is none is no right, and neither is one of another breaker.
    outcome.service = "sentinel".into();
    assert_eq!(raw.call(RECORD, &[&tells], &outcome).await.code(), Code::InvalidArgument);
    outcome.permit = vec![7; outcome.permit.len()].into();
    assert_eq!(raw.call(RECORD, &[&tells], &outcome).await.code(), Code::InvalidArgument);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn lists_show_what_one_may_see() {
    let mut principals = Principals::default();
    let everything = add(&mut principals, "admin", &[Role::Admin], &[]).header();
    let some = add(&mut principals, "some", &[Role::Reader], &["team-a.*"]).header();
    let none = add(&mut principals, "none", &[Role::Reader], &["elsewhere"]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    for number in 0..30 {
        for service in ["team-a.x", "team-b.x"] {
            let failure = v1::RecordOutcomeRequest {
                service: service.into(),
                name: format!("dependency-{number}"),
                outcome: v1::Outcome::Failure.into(),
                ..Default::default()
            };
            for _ in 0..5 {
                assert_eq!(raw.call(RECORD, &[&everything], &failure).await.code(), Code::Ok);
            }
        }
    }
    world.write_behind().await;

    for (who, breakers, transitions) in [(&everything, 61, 60), (&some, 30, 30), (&none, 0, 0)] {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request = v1::ListBreakersRequest { page_size: 7, page_token: token, ..Default::default() };
            let page = raw.call(LIST, &[who], &request).await.read::<v1::ListBreakersResponse>();
            found.extend(page.breakers.into_iter().map(|breaker| breaker.service));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found.len(), breakers);
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let request =
                v1::ListTransitionsRequest { page_size: 4, page_token: token, ..Default::default() };
            let page = raw.call(HISTORY, &[who], &request).await.read::<v1::ListTransitionsResponse>();
            assert!(page.transitions.len() <= 4);
            found
                .extend(page.transitions.into_iter().map(|transition| (transition.service, transition.name)));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found.len(), transitions);
        found.sort();
        found.dedup();
        assert_eq!(found.len(), transitions, "each once");
    }

    let get = |service: &str| v1::GetBreakerRequest { service: service.into(), name: "dependency-1".into() };
    assert_eq!(raw.call(GET, &[&some], &get("team-a.x")).await.code(), Code::Ok);
    assert_eq!(raw.call(GET, &[&some], &get("team-b.x")).await.code(), Code::PermissionDenied);
    assert_eq!(
        raw.call(GET, &[&some], &get("team-c.x")).await.code(),
        Code::PermissionDenied,
        "there or not"
    );
    let of_b = v1::ListBreakersRequest { service: "team-b.x".into(), ..Default::default() };
    assert_eq!(raw.call(LIST, &[&some], &of_b).await.code(), Code::PermissionDenied);
    let of_b = v1::ListTransitionsRequest { service: "team-b.x".into(), ..Default::default() };
    assert_eq!(raw.call(HISTORY, &[&some], &of_b).await.code(), Code::PermissionDenied);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn no_error_suggests_a_name_that_its_caller_may_not_see() {
    let mut principals = Principals::default();
    let admin = add(&mut principals, "admin", &[Role::Admin], &[]);
    let reader = add(&mut principals, "reader", &[Role::Reader], &["orders2"]);
    let world = World::with_security(security(principals), Limits::default()).await;
    world.breakers().await.allow_request(admin.shows(ask("orders", ""))).await.unwrap();
    let mut operations = world.operations().await;
    let get = || v1::GetBreakerRequest { service: "orders2".into(), ..v1::GetBreakerRequest::default() };
    let told = operations.get_breaker(admin.shows(get())).await.unwrap_err();
    assert!(told.message().contains("did you mean orders?"), "{told:?}");
    let told = operations.get_breaker(reader.shows(get())).await.unwrap_err();
    assert_eq!(told.code(), Code::NotFound);
    assert!(!told.message().contains("did you mean"), "{told:?}");
    assert!(!told.get_details_error_info().unwrap().metadata.contains_key("nearest"), "{told:?}");
}
