//! Epochs that begin at 0 again, and news of one epoch that overtake each other.

use std::time::Duration;

use breaker::{Recorded, State};

use super::super::follow::EPOCH_UNSAID_MAX;
use super::super::{Answered, Heard, RemotePermit, Source, WhenUnreachable};
use super::world::{World, failed, world};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

/// A client that knows from the stream that the breaker is CLOSED in epoch 2.
fn closed_at_two() -> World {
    let mut world = world(WhenUnreachable::Local);
    world.others_trip();
    world.hear();
    world.operator_resets();
    world.hear();
    assert_eq!((world.breakerd.epoch(), world.state()), (2, State::Closed));
    world
}

/// Time passes, with heartbeats, and the thread of the client looks at the breaker.
fn idle(world: &World, time: Duration) {
    world.live_on(time);
    world.cell.refresh(&world.around.context());
}

/// An answer to a request for permission.
fn answer(world: &World, heard: Heard) {
    let answer = Answered {
        heard,
        allowed: false,
        permit: RemotePermit { permit: "".into(), expires: None },
        retry_after: heard.remaining,
    };
    world.cell.answered(Some(answer), &world.around.context());
}

fn open(epoch: u64, remaining: Duration, open_count: u32) -> Heard {
    Heard { state: State::Open, epoch: Some(epoch), remaining: Some(remaining), open_count }
}

#[test]
fn the_epoch_of_a_breaker_that_was_idle_for_a_day_is_forgotten() {
    let mut world = closed_at_two();
    idle(&world, EPOCH_UNSAID_MAX);
    world.breakerd_begins_anew();
    world.call(1, &failed());
    world.report();
    let reports = world.reports();
    assert_eq!((reports.recorded, reports.not_counted), (1, 0), "{reports:?}");
    world.others_trip();
    world.hear();
    assert_eq!((world.breakerd.epoch(), world.state()), (1, State::Open));
}

#[test]
fn a_state_of_epochs_that_began_anew_is_taken_after_a_day_without_a_look() {
    let mut world = closed_at_two();
    // The thread of the client slept all along.
    world.live_on(EPOCH_UNSAID_MAX);
    world.breakerd_begins_anew();
    world.others_trip();
    world.hear();
    assert_eq!(world.state(), State::Open);
}

#[test]
fn the_epoch_of_a_breaker_is_known_for_a_day() {
    let mut world = closed_at_two();
    world.begin();
    world.others_trip();
    world.hear();
    world.operator_resets();
    world.hear();
    idle(&world, Duration::from_hours(23));
    world.begin();
    world.end(0, failed());
    world.report();
    assert_eq!(world.reports().late, 1, "of an epoch that is over");
    // breakerd said something a moment ago, so that a day begins.
    idle(&world, Duration::from_hours(2));
    world.end(0, failed());
    world.report();
    assert_eq!((world.reports().recorded, world.reports().late), (1, 1));
    // A call that is out for longer is late.
    world.begin();
    idle(&world, EPOCH_UNSAID_MAX);
    world.end(0, failed());
    world.report();
    assert_eq!((world.reports().recorded, world.reports().late), (1, 2));
}

#[test]
fn a_client_takes_up_the_smaller_epochs_of_a_breakerd_that_does_not_know_the_larger() {
    let mut world = closed_at_two();
    // It connects to a replica that is cut off, and has not heard of the trip and the reset.
    world.breakerd_begins_anew();
    world.snapshot();
    world.call(1, &failed());
    world.report();
    assert_eq!(world.reports().not_counted, 1);
    world.call(1, &failed());
    world.report();
    let reports = world.reports();
    assert_eq!((reports.recorded, reports.not_counted), (1, 1), "{reports:?}");
    world.others_trip();
    world.hear();
    assert_eq!((world.breakerd.epoch(), world.state()), (1, State::Open));
}

#[test]
fn a_call_of_the_larger_epochs_is_late_once_the_smaller_are_known() {
    let mut world = closed_at_two();
    world.begin();
    world.breakerd_begins_anew();
    world.snapshot();
    world.call(1, &failed());
    world.report();
    assert_eq!(world.reports().not_counted, 1);
    world.end(0, failed());
    world.report();
    let reports = world.reports();
    assert_eq!((reports.recorded, reports.late), (0, 1), "{reports:?}");
}

#[test]
fn an_answer_that_does_not_know_what_the_stream_said_later_changes_nothing() {
    let mut world = closed_at_two();
    world.call(1, &failed());
    world.send();
    world.cell.acknowledged(
        Some(2),
        &[(Recorded::NotCounted, 1)],
        Some(open(1, MINUTE, 1)),
        &world.around.context(),
    );
    assert_eq!(world.state(), State::Closed);
}

#[test]
fn an_answer_does_not_bring_back_what_the_stream_ended_in_the_same_epoch() {
    // breakerd opened alone, which changes no epoch, and ended that when its database was back.
    let world = closed_at_two();
    world.cell.hear(open(2, MINUTE, 1), Source::Stream, &world.around.context());
    assert_eq!(world.state(), State::Open);
    let closed = Heard { epoch: Some(2), ..Heard::CLOSED };
    world.cell.hear(closed, Source::Stream, &world.around.context());
    assert_eq!(world.state(), State::Closed);
    answer(&world, open(2, MINUTE, 0));
    assert_eq!(world.state(), State::Closed, "it was on its way all along");
}

#[test]
fn the_stream_replaces_what_an_answer_said_in_the_same_epoch() {
    let world = closed_at_two();
    answer(&world, open(3, MINUTE, 0));
    assert_eq!(world.state(), State::Open);
    let half_open = Heard { state: State::HalfOpen, epoch: Some(3), remaining: None, open_count: 1 };
    world.cell.hear(half_open, Source::Stream, &world.around.context());
    assert_eq!(world.state(), State::HalfOpen);
}

#[test]
fn an_answer_of_the_same_epoch_keeps_how_often_the_breaker_opened() {
    let world = closed_at_two();
    world.cell.hear(open(3, MINUTE, 4), Source::Stream, &world.around.context());
    world.live_on(SECOND);
    answer(&world, open(3, 58 * SECOND, 0));
    assert_eq!(world.cell.lock().machine.snapshot().open_count, 4, "its waits grow by that");
    // An answer can be first.
    world.cell.hear(Heard { epoch: Some(4), ..Heard::CLOSED }, Source::Stream, &world.around.context());
    answer(&world, open(5, MINUTE, 0));
    world.cell.hear(open(5, MINUTE, 4), Source::Stream, &world.around.context());
    assert_eq!(world.cell.lock().machine.snapshot().open_count, 4);
}

#[test]
fn an_answer_that_was_long_on_its_way_does_not_prolong_the_wait() {
    let world = closed_at_two();
    world.cell.hear(open(3, MINUTE, 1), Source::Stream, &world.around.context());
    world.live_on(5 * SECOND);
    answer(&world, open(3, MINUTE, 0));
    let remaining = |world: &World| world.cell.stats(&world.around.context()).remaining_wait;
    assert_eq!(remaining(&world), Some(55 * SECOND));
    // By breakerd's clock it is not over yet.
    world.live_on(55 * SECOND);
    answer(&world, open(3, SECOND, 0));
    assert_eq!(remaining(&world), Some(SECOND));
}
