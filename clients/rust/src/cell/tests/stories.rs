//! What goes wrong without a rule of local mode, each as a story.

use std::time::Duration;

use breaker::State;

use super::super::{Answered, Decision, Heard, RemotePermit, Source, Ticket, WhenUnreachable};
use super::world::{OK, World, failed, world};
use crate::classify::Failure;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn local() -> World {
    world(WhenUnreachable::Local)
}

/// breakerd is silent for so long that it does not rule any more.
fn silence(world: &mut World) {
    world.connected = false;
    world.pass(16 * SECOND);
    assert!(!world.around.context().live);
    // As the thread of the client does each second.
    world.cell.refresh(&world.around.context());
}

fn back(world: &mut World) {
    world.connected = true;
    world.snapshot();
    world.around.link.report_answered(None);
    assert!(world.around.context().live);
}

#[test]
fn a_breaker_opens_at_breakerd_and_here_and_closes_by_its_probes() {
    let mut world = local();
    world.call(3, &OK);
    for _ in 0..5 {
        world.call(1, &failed());
        world.report();
    }
    assert_eq!((world.breakerd.state(), world.state()), (State::Open, State::Open));
    world.call(10, &OK);
    assert_eq!(world.reports().reported, 8, "the rest was rejected");
    world.live_on(MINUTE);
    for _ in 0..2 {
        // One call requests a probe, and the next takes it.
        world.call(2, &OK);
        world.report();
    }
    world.hear();
    assert_eq!((world.breakerd.state(), world.state()), (State::Closed, State::Closed));
    let reports = world.reports();
    assert_eq!((reports.reported, reports.recorded), (10, 10), "{reports:?}");
}

#[test]
fn what_a_new_snapshot_leaves_out_is_closed() {
    let mut world = local();
    world.others_trip();
    world.hear();
    assert_eq!(world.state(), State::Open);
    silence(&mut world);
    world.operator_resets();
    assert_eq!(world.state(), State::Open, "until the snapshot is there");
    back(&mut world);
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn a_late_timeout_of_a_call_from_before_a_trip_does_not_trip_the_next_closed() {
    let mut world = local();
    // Ten calls hang. Nothing was ever said of this breaker.
    (0..10).for_each(|_| world.begin());
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    (0..2).for_each(|_| {
        world.request();
        world.begin();
        world.end(10, OK);
        world.report();
    });
    world.hear();
    assert_eq!(world.state(), State::Closed);
    (0..10).for_each(|_| world.end(0, failed()));
    world.report();
    assert_eq!((world.breakerd.state(), world.state()), (State::Closed, State::Closed));
    assert_eq!(world.reports().late, 10);
}

#[test]
fn successes_between_failures_are_reported_between_them() {
    let mut world = local();
    for _ in 0..4 {
        world.call(4, &failed());
        world.call(1, &OK);
    }
    world.report();
    assert_eq!((world.breakerd.state(), world.state()), (State::Closed, State::Closed));
    world.call(5, &failed());
    world.report();
    assert_eq!(world.breakerd.state(), State::Open);
}

#[test]
fn one_process_requests_one_probe_at_a_time() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    let context = world.around.context();
    assert!(matches!(world.cell.decide(&context), Decision::Request));
    for _ in 0..100 {
        let Decision::Rejected(rejected) = world.cell.decide(&context) else { panic!("a second request") };
        assert_eq!(rejected.state, State::HalfOpen);
    }
    // Without an answer, it asks again, but not at once.
    world.cell.answered(None, &context);
    assert!(matches!(world.cell.decide(&context), Decision::Rejected(_)));
    world.live_on(SECOND / 10);
    assert!(matches!(world.cell.decide(&world.around.context()), Decision::Request));
}

#[test]
fn a_permit_that_comes_after_the_next_epoch_began_is_given_back() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    let (sender, mut waiting) = tokio::sync::oneshot::channel();
    let request = world.cell.decide_or_wait(&world.around.context(), sender);
    assert!(matches!(request, Decision::Request));
    // Another process fails its probe, which is known here before the answer comes.
    let half_open = world.heard().epoch.unwrap() + 1;
    let open =
        Heard { state: State::Open, epoch: Some(half_open + 1), remaining: Some(MINUTE), open_count: 2 };
    world.cell.hear(open, Source::Stream, &world.around.context());
    let answer = Answered {
        heard: Heard { state: State::HalfOpen, epoch: Some(half_open), remaining: None, open_count: 1 },
        allowed: true,
        permit: RemotePermit { permit: "a permit".into(), expires: Some(world.now() + MINUTE) },
        retry_after: None,
    };
    world.cell.answered(Some(answer), &world.around.context());
    assert!(waiting.try_recv().is_err(), "who waits decides by the state of now");
    world.call(3, &OK);
    let reports = world.reports();
    assert_eq!((world.state(), reports.reported, reports.waiting), (State::Open, 1, 1), "{reports:?}");
}

#[test]
fn a_probe_that_nobody_waits_for_serves_the_next_call_or_is_given_back() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    world.begin();
    assert!(world.calls.is_empty(), "it asked, and did not wait");
    world.begin();
    assert!(matches!(world.calls[..], [Ticket::Remote(_)]));
    world.end(0, OK);
    world.begin();
    world.live_on(SECOND);
    world.report();
    let reports = world.reports();
    assert_eq!((reports.reported, reports.waiting), (2, 0), "the other went back: {reports:?}");
}

#[test]
fn failures_that_breakerd_does_not_acknowledge_trip_here_although_its_stream_lives() {
    let mut world = local();
    world.call(5, &failed());
    assert_eq!(world.state(), State::Closed, "breakerd may know better");
    // Heartbeats come, answers do not.
    for _ in 0..4 {
        world.pass(SECOND / 2);
        world.around.link.heard(world.now());
    }
    assert_eq!(world.state(), State::Open);
    world.call(1, &OK);
    assert_eq!(world.cell.stats(&world.around.context()).rejected.open, 1);
}

#[test]
fn a_breaker_whose_failures_breakerd_refuses_trips_here() {
    let mut world = local();
    for _ in 0..5 {
        world.call(1, &failed());
        world.send();
        world.settle(0);
    }
    assert_eq!((world.breakerd.state(), world.state()), (State::Closed, State::Open));
}

#[test]
fn failures_that_breakerd_counted_without_a_trip_are_forgotten_here_when_all_are_answered() {
    let mut world = local();
    // Others succeed in between, which this process does not see.
    for _ in 0..10 {
        world.call(1, &failed());
        world.report();
        let now = world.now();
        let success = breaker::Report::plain(breaker::Outcome::Success);
        world.breakerd.record(breaker::Ticket::Bare { epoch: None }, &success, now);
    }
    assert_eq!(world.state(), State::Closed);
    silence(&mut world);
    assert_eq!(world.state(), State::Closed, "what breakerd judged is not judged again");
    world.call(5, &failed());
    assert_eq!(world.state(), State::Open);
}

#[test]
fn alone_a_process_waits_for_the_rest_of_the_wait_and_then_probes_by_itself() {
    let mut world = local();
    world.others_trip();
    world.hear();
    silence(&mut world);
    world.call(1, &OK);
    assert_eq!((world.state(), world.reports().reported), (State::Open, 0));
    world.pass(44 * SECOND);
    world.call(2, &OK);
    assert_eq!((world.state(), world.reports().alone), (State::Closed, 2));
}

#[test]
fn alone_a_process_has_what_a_library_gives() {
    let mut world = local();
    silence(&mut world);
    world.call(5, &failed());
    assert_eq!(world.state(), State::Open);
    world.call(10, &OK);
    world.pass(MINUTE);
    world.call(1, &failed());
    assert_eq!(world.state(), State::Open, "the probe failed");
    world.pass(MINUTE);
    world.call(2, &OK);
    assert_eq!(world.state(), State::Closed);
    assert_eq!(world.reports().alone, world.reports().reported);
}

#[test]
fn an_override_holds_until_its_end_with_and_without_breakerd() {
    for what in [WhenUnreachable::Local, WhenUnreachable::LastKnown { at_most: 10 * MINUTE }] {
        let mut world = world(what);
        let set = Heard { state: State::ForcedOpen, epoch: Some(1), remaining: Some(MINUTE), open_count: 0 };
        world.cell.hear(set, Source::Stream, &world.around.context());
        world.call(1, &OK);
        silence(&mut world);
        world.call(1, &OK);
        assert_eq!((world.state(), world.reports().reported), (State::ForcedOpen, 0), "{what:?}");
        world.pass(45 * SECOND);
        world.call(1, &OK);
        assert_eq!((world.state(), world.reports().reported), (State::Closed, 1), "{what:?}");
    }
}

#[test]
fn old_failures_of_the_time_alone_do_not_trip_a_dependency_that_has_recovered() {
    let mut world = local();
    silence(&mut world);
    world.call(4, &failed());
    back(&mut world);
    world.call(1, &failed());
    world.report();
    assert_eq!((world.breakerd.state(), world.breakerd.view(world.now()).stats.failures), (State::Closed, 1));
    let totals = world.cell.take_local_totals().unwrap();
    assert_eq!((totals.failed, totals.successful), (4, 0));
    assert_eq!(world.cell.take_local_totals(), None, "each is told once");
}

#[test]
fn what_opened_alone_lets_one_call_at_a_time_through_when_breakerd_is_back() {
    let mut world = local();
    silence(&mut world);
    world.call(5, &failed());
    world.pass(30 * SECOND);
    back(&mut world);
    world.call(10, &OK);
    assert_eq!((world.state(), world.calls.len()), (State::Open, 0), "its own wait goes on");
    world.pass(31 * SECOND);
    world.around.link.heard(world.now());
    (0..10).for_each(|_| world.begin());
    assert!(matches!(world.calls[..], [Ticket::Returning { .. }]));
    world.end(0, failed());
    (0..10).for_each(|_| world.begin());
    assert_eq!(world.calls.len(), 1, "until one succeeds");
    world.end(0, OK);
    (0..10).for_each(|_| world.begin());
    assert_eq!((world.state(), world.calls.len()), (State::Closed, 10));
}

#[test]
fn each_process_decides_as_it_is_told_while_breakerd_is_away() {
    let last_known = WhenUnreachable::LastKnown { at_most: 40 * SECOND };
    let expected = [
        (WhenUnreachable::Local, State::Open, State::Closed),
        (WhenUnreachable::Allow, State::Closed, State::Closed),
        (last_known, State::Open, State::Closed),
        (WhenUnreachable::Deny, State::Open, State::Open),
    ];
    for (what, of_open, of_closed) in expected {
        let mut open = world(what);
        open.others_trip();
        open.hear();
        silence(&mut open);
        open.begin();
        assert_eq!((open.state(), open.calls.len() == 1), (of_open, of_open == State::Closed), "{what:?}");
        let mut closed = world(what);
        silence(&mut closed);
        closed.begin();
        assert_eq!(
            (closed.state(), closed.calls.len() == 1),
            (of_closed, of_closed == State::Closed),
            "{what:?}"
        );
    }
    let mut old = world(last_known);
    old.others_trip();
    old.hear();
    silence(&mut old);
    old.pass(25 * SECOND);
    old.begin();
    assert_eq!((old.state(), old.calls.len()), (State::Closed, 1), "the state is too old");
}

#[test]
fn of_another_timeline_epochs_do_not_compare() {
    let world = local();
    let heard = |state, epoch| Heard { state, epoch: Some(epoch), remaining: Some(MINUTE), open_count: 1 };
    world.cell.hear(heard(State::Open, 9), Source::Stream, &world.around.context());
    // The store was restored from a backup, in which the breaker is in its second epoch.
    let restored = Source::Snapshot { same_timeline: false };
    world.cell.hear(heard(State::HalfOpen, 2), restored, &world.around.context());
    assert_eq!(world.state(), State::HalfOpen);
    world.cell.hear(heard(State::Open, 1), Source::Stream, &world.around.context());
    assert_eq!(world.state(), State::HalfOpen, "older news of the same timeline");
}

#[test]
fn what_has_no_room_in_the_queue_is_dropped_and_counted() {
    let mut world = local();
    for _ in 0..100 {
        // Classes differ, so that none runs on from the one before.
        world.begin();
        let class = format!("class {}", world.reports().reported);
        world.end(0, super::super::Result::Failure(Failure { class: class.into(), retry_after: None }));
    }
    let reports = world.reports();
    assert!(reports.dropped > 0 && reports.waiting > 0, "{reports:?}");
    world.check();
}

#[test]
fn a_breaker_whose_failures_have_no_room_in_the_queue_trips_here() {
    let mut world = local();
    // Nothing is sent for a moment, and the epochs of what is reported differ, so that nothing runs on.
    for epoch in 0..100 {
        let heard = Heard { state: State::Closed, epoch: Some(epoch), remaining: None, open_count: 0 };
        world.cell.hear(heard, Source::Stream, &world.around.context());
        world.call(1, &OK);
        world.cell.stats(&world.around.context());
    }
    let dropped = world.reports().dropped;
    assert!(dropped > 0);
    assert_eq!(world.state(), State::Closed);
    world.call(5, &failed());
    // The last success, and the first failure: the others are decided here.
    assert_eq!((world.state(), world.reports().dropped), (State::Open, dropped + 2));
}

#[test]
fn a_process_comes_back_to_breakerd_although_its_last_request_was_never_answered() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    world.connected = false;
    world.begin();
    world.live_on(2 * SECOND);
    assert!(!world.around.context().live);
    // A report is answered, and nothing is requested any more.
    world.connected = true;
    world.send();
    world.settle(1);
    assert!(world.around.context().live);
}

#[test]
fn a_breaker_whose_requests_breakerd_refuses_is_decided_here() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    world.cell.request_refused(&world.around.context());
    world.begin();
    assert!(matches!(world.calls[..], [Ticket::Local(_)]));
}

#[test]
fn failures_that_could_not_be_sent_in_time_are_not_sent_late() {
    let mut world = local();
    world.call(4, &failed());
    world.live_on(SECOND);
    world.report();
    let failures = world.breakerd.view(world.now()).stats.failures;
    let reports = world.reports();
    assert_eq!((failures, reports.alone, reports.waiting), (0, 4, 0), "{reports:?}");
}

#[test]
fn how_a_probe_went_is_sent_however_late() {
    let mut world = local();
    world.others_trip();
    world.hear();
    world.live_on(MINUTE);
    world.call(2, &OK);
    assert_eq!(world.reports().waiting, 1, "one call requested the probe, the next took it");
    world.live_on(2 * SECOND);
    world.report();
    let reports = world.reports();
    assert_eq!((reports.recorded, reports.alone), (1, 0), "{reports:?}");
}
