//! Operators, who set and reset breakers at random.

use std::time::Duration;

use breaker::{Attribution, Key, Override, OverrideKind, Scope};

use super::acts::Act;
use super::callers::{Caller, NAMES};
use super::checker::SERVICE;
use super::executor::BEGINNING;
use crate::engine::{Creator, OperatorAct, Unknown};

/// How long an operator waits for an act.
const WAITS: Duration = Duration::from_secs(1);

/// Acts until the callers stop.
pub(super) async fn operate(caller: Caller) {
    while caller.goes_on() {
        let pause = caller.executor.draw(|random| random.micros(3_000_000));
        caller.executor.sleep(pause).await;
        let name = NAMES[caller.executor.draw(|random| usize::from(random.one_in(2)))];
        let drawn = caller.executor.draw(|random| random.below(10));
        let actor = caller.executor.draw(|random| format!("operator {:x}", random.number()));
        act(&caller, name, choose(drawn, &actor), actor).await;
    }
}

/// Ends every override that is left.
pub(super) async fn reset_all(caller: Caller) {
    for name in NAMES {
        let actor = format!("the last operator of {name}");
        act(&caller, name, OperatorAct::Reset(by(&actor)), actor).await;
    }
}

fn by(actor: &str) -> Attribution {
    Attribution { actor: actor.to_owned(), reason: String::new() }
}

fn choose(drawn: u64, actor: &str) -> OperatorAct {
    let set = |kind, ttl: Option<Duration>| {
        let Attribution { actor, reason } = by(actor);
        let scope = Scope::Breaker;
        // By the wall clock of whoever it is, which is wrong.
        let expires_at = ttl.map(|ttl| BEGINNING + ttl);
        OperatorAct::SetOverride(Override { kind, scope, expires_at, ttl, actor, reason })
    };
    match drawn {
        0..=1 => set(OverrideKind::ForcedOpen, None),
        2 => set(OverrideKind::ForcedOpen, Some(Duration::from_secs(2))),
        3 => set(OverrideKind::Disabled, Some(Duration::from_secs(1))),
        4 => OperatorAct::ClearOverride(by(actor)),
        5 => OperatorAct::Probe(by(actor)),
        6 => OperatorAct::Delete(by(actor)),
        _ => OperatorAct::Reset(by(actor)),
    }
}

async fn act(caller: &Caller, name: &'static str, act: OperatorAct, actor: String) {
    let is_forced_open = act.is_forced_open();
    let ttl = match &act {
        OperatorAct::SetOverride(set_by) => set_by.ttl,
        _ => None,
    };
    caller
        .call(move |replica, shown, _| async move {
            let key = Key::new(SERVICE, name).expect("a key");
            shown.checker.log(|| format!("r{} is to {act:?} {name}", shown.replica));
            let begins = Act {
                replica: shown.replica,
                name,
                is_forced_open,
                ttl,
                begun_at: shown.checker.now(),
                ended_at: None,
            };
            shown.checker.act_begins(&actor, begins);
            let done = replica.act(Creator::Server, Unknown::Create, &key, act, WAITS).await;
            shown.checker.log(|| {
                let done = done.as_ref().map(|done| (done.acted.epoch, done.acted.changed, done.is_stored));
                format!("r{}: {done:?} for {actor}", shown.replica)
            });
            shown.checker.act_ended(&actor, done.is_ok());
        })
        .await;
}
