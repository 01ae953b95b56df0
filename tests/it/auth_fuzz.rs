//! Whatever comes in as a token, a permit or a body: it is answered, it is never our fault, and the connection goes on.

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::v1;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tonic::Code;

use crate::auth::{add, security};
use crate::grpc_world::{World, ask};
use crate::raw::{Answer, Raw, framed};

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
const RECORD: &str = "/breakerd.v1.BreakerService/RecordOutcome";
const PATHS: [&str; 8] = [
    ALLOW,
    RECORD,
    "/breakerd.v1.BreakerService/AllowRequests",
    "/breakerd.v1.BreakerService/RecordOutcomes",
    "/breakerd.v1.OperationsService/ListBreakers",
    "/breakerd.v1.OperationsService/GetBreaker",
    "/breakerd.v1.OperationsService/ListTransitions",
    "/grpc.health.v1.Health/Check",
];
const CASES: usize = 400;

/// Draws so many values; the same ones each time, so that what is found is found again.
fn draws<S: Strategy>(strategy: &S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    (0..count).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// What a header may hold at all: anything but controls.
fn header(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![Just(b'\t'), 0x20_u8..=0x7e, 0x80_u8..=0xff], 0..bytes_max)
}

fn is_no_fault(answer: &Answer, what: &dyn std::fmt::Debug) {
    assert_ne!(answer.code(), Code::Internal, "{what:?}: {:?}", answer.status);
    assert_ne!(answer.code(), Code::Unknown, "{what:?}: {:?}", answer.status);
}

#[tokio::test]
async fn whatever_is_shown_as_a_token_is_not_known() {
    let mut principals = Principals::default();
    let good = add(&mut principals, "good", &[Role::Admin], &[]).header();
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut raw = Raw::to(world.address).await;
    let likely = good.clone();
    let near = (0..good.len(), any::<u8>()).prop_map(move |(at, byte)| {
        let mut changed = likely.clone();
        changed[at] = byte.max(b'!');
        changed
    });
    let schemes = prop_oneof![Just("Bearer "), Just("bearer  "), Just("Basic "), Just("")];
    let odd = (schemes, header(600)).prop_map(|(scheme, rest)| [scheme.as_bytes(), &rest].concat());
    for shown in draws(&near, CASES).into_iter().chain(draws(&odd, CASES)) {
        // No header can hold it.
        if shown.contains(&0x7f) {
            continue;
        }
        let is_good = shown.get(7..) == Some(&good[7..]) && shown[..7].eq_ignore_ascii_case(b"bearer ");
        let answer = raw.call(ALLOW, &[&shown], &ask("a", "")).await;
        assert_eq!(answer.code() == Code::Ok, is_good, "{shown:?}");
        is_no_fault(&answer, &shown);
    }
    assert_eq!(raw.call(ALLOW, &[&good], &ask("a", "")).await.code(), Code::Ok);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn whatever_is_handed_back_as_a_permit_is_forged_or_good() {
    let world = World::new().await;
    let mut raw = Raw::to(world.address).await;
    let allowed = raw.call(ALLOW, &[], &ask("a", "")).await.read::<v1::AllowRequestResponse>();
    let sealed = allowed.permit.to_vec();
    let near =
        (vec((0..sealed.len(), any::<u8>()), 1..4), 0..=sealed.len()).prop_map(move |(changes, length)| {
            let mut changed = sealed.clone();
            for (at, byte) in changes {
                changed[at] = byte;
            }
            changed.truncate(length);
            changed
        });
    for permit in draws(&near, CASES).into_iter().chain(draws(&vec(any::<u8>(), 1..200), CASES)) {
        // A byte may have been drawn as it was.
        if permit == allowed.permit {
            continue;
        }
        let outcome = v1::RecordOutcomeRequest {
            permit: permit.clone().into(),
            outcome: v1::Outcome::Failure.into(),
            ..Default::default()
        };
        let answer = raw.call(RECORD, &[], &outcome).await;
        assert_eq!(answer.code(), Code::InvalidArgument, "{permit:?}: {:?}", answer.status);
    }
    let view = world.app.loaded().unwrap().engine.view("a", "", crate::grpc_world::START).unwrap();
    assert_eq!(view.view.stats.consecutive_failures, 0);
    drop(raw);
    world.end().await;
}

#[tokio::test]
async fn whatever_is_sent_as_a_body_is_answered_and_the_connection_goes_on() {
    let world = World::new().await;
    let mut raw = Raw::to(world.address).await;
    let message = vec(any::<u8>(), 0..300);
    // Fields that there are, with anything in them, go deeper than bytes at random.
    let fields = vec((1_u8..12, vec(any::<u8>(), 0..20)), 0..8).prop_map(|fields| {
        fields.iter().fold(Vec::new(), |mut message, (field, bytes)| {
            message.push(field << 3 | 2);
            message.push(u8::try_from(bytes.len()).unwrap());
            message.extend(bytes);
            message
        })
    });
    let framed = prop_oneof![message, fields].prop_map(|message| framed(&message));
    let any_frame = vec(any::<u8>(), 0..300);
    for (number, body) in draws(&framed, CASES).into_iter().chain(draws(&any_frame, CASES)).enumerate() {
        let path = PATHS[number % PATHS.len()];
        let answer = raw.send(path, &[], body.clone()).await.unwrap();
        is_no_fault(&answer, &(path, &body));
    }
    assert_eq!(raw.call(ALLOW, &[], &ask("a", "")).await.code(), Code::Ok);
    drop(raw);
    world.end().await;
}
