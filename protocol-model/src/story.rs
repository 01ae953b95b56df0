//! A trace in plain words.

use std::fmt::Write as _;

use crate::action::Action;
use crate::checker::{Model as _, Violation};
use crate::message::{Act, Ask, Id, Request, Verdict};
use crate::setup::Setup;
use crate::store::{Seen, State};
use crate::world::World;

/// Tells a violation step by step. The replicas are A, B and C from beginning to end.
pub fn tell(setup: &Setup, violation: &Violation<Action>) -> String {
    let mut names = Names(['A', 'B', 'C']);
    let mut world = setup.initial();
    let mut story = String::new();
    for (number, action) in (1..).zip(&violation.trace) {
        let (next, _, places) = setup.step(&world, *action);
        let _ = writeln!(story, "{number:3}. {}", names.tell(setup, &world, *action));
        let before = names.0;
        for (index, place) in places.iter().enumerate().take(world.replicas.len()) {
            names.0[usize::from(*place)] = before[index];
        }
        world = next;
    }
    let _ = writeln!(story, "     violated: {}", violation.property);
    story
}

/// What the replica in each place of a [`World`] was called at the beginning.
struct Names([char; 3]);

impl Names {
    fn of(&self, place: u8) -> char {
        self.0.get(usize::from(place)).copied().unwrap_or('?')
    }

    fn tell(&self, setup: &Setup, world: &World, action: Action) -> String {
        match action {
            Action::FailingCall(place) => {
                let epoch = world.replicas[usize::from(place)].confirmed.epoch;
                format!("a call fails at {}: it trips in epoch {epoch}, and rejects calls", self.of(place))
            }
            Action::WaitEnds => "the wait in OPEN is over".into(),
            Action::ProposeHalfOpen(place) => format!("{} proposes half-open", self.of(place)),
            Action::Claim(place) => format!("a call waits at {}, which claims a slot", self.of(place)),
            Action::Take(place) => {
                format!("a call takes the grant that {} has: a probe begins", self.of(place))
            }
            Action::ReturnStock(place) => {
                format!("no call takes the grant that {} has: it goes back", self.of(place))
            }
            Action::Report { caller, replica, success } => format!(
                "the caller with the probe of {} reports {} to {}",
                self.of(world.callers[caller].nonce.replica),
                if success { "a success" } else { "a failure" },
                self.of(replica)
            ),
            Action::Poll(place) => self.poll(setup, world, place),
            Action::Process(index) => self.process(setup, world, world.requests[index]),
            Action::Receive(index) => {
                let answer = &world.answers[index];
                let what = self.request(&answer.to);
                let to = self.of(answer.to.id.replica);
                format!("{to} gets the answer to {what}: {}; {}", verdict(answer.verdict), row(answer.row))
            }
            Action::Resend(place, id) => {
                format!("{} sends {} again", self.of(place), self.pending(world, place, id))
            }
            Action::Operate(place, Act::ForcedOpen) => {
                format!("an operator sets FORCED_OPEN through {}", self.of(place))
            }
            Action::Operate(place, Act::Reset) => {
                format!("an operator resets the breaker through {}", self.of(place))
            }
            Action::LeaseEnds(_) => "the store's clock ends the lease of a slot".into(),
            Action::LoseRequest(index) => format!("{} is lost", self.request(&world.requests[index])),
            Action::LoseAnswer(index) => {
                format!("the answer to {} is lost", self.request(&world.answers[index].to))
            }
            Action::Crash(place) => {
                format!("{} crashes, starts, and reads {}", self.of(place), row(world.store.seen()))
            }
            Action::StopWaiting(place, id) => self.stop_waiting(world, place, id),
            Action::CallerLate(caller) => {
                let holder = self.of(world.callers[caller].nonce.replica);
                format!("the lease of the caller with the probe of {holder} is over")
            }
            Action::Drain(place) => format!("{} gets no more calls", self.of(place)),
            Action::StandbyStops => "a standby of the store stops following it".into(),
            Action::StoreGoesBack => match &world.standby {
                Some(standby) => format!("the standby becomes the store, with {}", row(standby.seen())),
                None => "the store goes back".into(),
            },
            Action::BeginLineage(place) => format!("{} begins a new lineage", self.of(place)),
            Action::Cancel(place) => {
                format!("the call for which {} claims a slot is canceled", self.of(place))
            }
            Action::ProbeAlone(place) => format!("{} lets a probe through, by itself", self.of(place)),
        }
    }

    fn poll(&self, setup: &Setup, world: &World, place: u8) -> String {
        let (next, _, places) = setup.step(world, Action::Poll(place));
        if next.replicas[usize::from(places[usize::from(place)])].noticed.is_some() {
            format!("{} notices that the store went back", self.of(place))
        } else {
            format!("{} reads the row: {}", self.of(place), row(next.store.seen()))
        }
    }

    fn process(&self, setup: &Setup, world: &World, request: Request) -> String {
        let what = self.request(&request);
        let mut store = world.store.clone();
        match store.process(&request, setup) {
            Ok(Some(answer)) => format!("the store gets {what}: {}; {}", verdict(answer), row(store.seen())),
            Ok(None) => format!("the store gets {what}"),
            Err(_) => format!("the store gets {what}, while it has {}", row(world.store.seen())),
        }
    }

    fn stop_waiting(&self, world: &World, place: u8, id: Id) -> String {
        let name = self.of(place);
        let what = self.pending(world, place, id);
        let request = world.replicas[usize::from(place)].pending().find(|request| request.id == id);
        match request.map(|request| request.ask) {
            Some(Ask::Outcome { .. }) => {
                format!("{name} has no answer to {what}: it journals it and answers RECORDED")
            }
            Some(Ask::Act { act: Act::ForcedOpen, .. }) => {
                format!("{name} has no answer to {what}: it takes FORCED_OPEN alone, and journals it")
            }
            Some(Ask::Act { act: Act::Reset, .. }) => {
                format!("{name} has no answer to {what}: it tells UNAVAILABLE")
            }
            _ => format!("{name} has no answer to {what}: it gives it up and releases the nonce"),
        }
    }

    fn pending(&self, world: &World, place: u8, id: Id) -> String {
        let request = world.replicas[usize::from(place)].pending().find(|request| request.id == id);
        request.map_or_else(|| "a request".into(), |request| self.request(request))
    }

    fn request(&self, request: &Request) -> String {
        let (name, epoch) = (self.of(request.id.replica), request.epoch);
        match request.ask {
            Ask::Trip => format!("{name}'s trip of epoch {epoch}"),
            Ask::HalfOpen => format!("{name}'s proposal of half-open in epoch {epoch}"),
            Ask::Claim => format!("{name}'s claim in epoch {epoch}"),
            Ask::Release => format!("the slot that {name} gives back"),
            Ask::Outcome { nonce, success } => {
                let outcome = if success { "success" } else { "failure" };
                format!("the {outcome} of {}'s probe, sent by {name}", self.of(nonce.replica))
            }
            Ask::Reconcile { old_epoch, .. } => {
                format!("the state that {name} was in before, of epoch {old_epoch}")
            }
            Ask::Act { act: Act::ForcedOpen, .. } => format!("{name}'s FORCED_OPEN"),
            Ask::Act { act: Act::Reset, .. } => format!("{name}'s RESET"),
        }
    }
}

fn row(row: Seen) -> String {
    let state = match row.state {
        State::Closed => "CLOSED",
        State::Open => "OPEN",
        State::HalfOpen => "HALF_OPEN",
        State::ForcedOpen => "FORCED_OPEN",
    };
    let lineage = if row.lineage == 0 { String::new() } else { format!(" of lineage {}", row.lineage) };
    format!("{state} in epoch {}{lineage}", row.epoch)
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Won => "WON",
        Verdict::Lost => "LOST",
        Verdict::TooEarly => "too early",
        Verdict::Granted => "a slot",
        Verdict::Refused => "no slot",
        Verdict::Recorded => "RECORDED",
        Verdict::Duplicate => "DUPLICATE",
        Verdict::Late => "LATE",
        Verdict::UnknownTimeline => "the timeline is new",
    }
}
