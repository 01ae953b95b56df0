//! A little of everything that a store can tell of: what docs/sql.md is asked about.

use std::time::Duration;

use breaker::{Reason, Snapshot, State, Time};
use breakerd::store::{Change, Gap, GapCause, Proposal, Target};

use crate::store_contract::change::{id, key, own, snapshot};
use crate::support::Bed;

/// The `seq`th change: of this breaker, from a state and its epoch to another.
fn step(
    seq: u64,
    (service, name): (&str, &str),
    base_epoch: u64,
    (from, to): (State, State),
    reason: Reason,
) -> Proposal {
    let mut proposal = own(seq, &key(service, name), from, to, base_epoch);
    if let Change::Transition(transition) = &mut proposal.change {
        transition.reason = reason;
        // As of an entry that does not say it: from the times.
        transition.lasted = None;
        if let Some(set_by) = &mut transition.after.set_by {
            set_by.expires_at = None;
        }
    }
    proposal
}

/// What the story says of a change beside that.
trait Told: Sized {
    fn at(self, time: Time) -> Self;
    fn counting(self, calls: u32, failures: u32) -> Self;
}

impl Told for Proposal {
    fn at(mut self, time: Time) -> Self {
        match &mut self.change {
            Change::Transition(transition) => {
                transition.at = time;
                transition.after.entered_at = time;
            }
            Change::Gap(gap) => gap.at = time,
        }
        self
    }

    fn counting(mut self, calls: u32, failures: u32) -> Self {
        let Change::Transition(transition) = &mut self.change else { return self };
        transition.stats.calls = calls;
        transition.stats.failures = failures;
        self
    }
}

/// Tells the story into the store, from `start` on; it lasts twenty minutes.
///
/// * The file is applied an hour before, and ann changes the thresholds of `payments` a minute before.
/// * `payments/eu` opens at once, is opened again by its probes twice, and closes after 1200 s.
/// * `orders` is forced open by hand after 100 s, without an end; a change that came too late is superseded.
/// * `search` is METRICS_ONLY from 200 s on, as its whole service is, and would have opened at 300 s.
/// * `mail` opens at 400 s, decided alone; three changes are missing until 500 s, when it was CLOSED; it opens again at 600 s, and
///   closes at 670 s.
/// * `catalog` and `ledger` open at 800 s, and still are.
/// * `billing` is DISABLED by hand at 900 s, for 75 minutes.
pub(super) async fn tell(bed: &Bed, start: Time) {
    use State::{Closed, Disabled, ForcedOpen, HalfOpen, MetricsOnly, Open};
    let after = |seconds| start + Duration::from_secs(seconds);
    let before = |seconds: u64| Time::from_micros(start.as_micros() - seconds * 1_000_000);
    let declared = r#"{"enabled": true, "defaults": {}, "services": {}}"#;
    audit(bed, before(3_600), "FILE_APPLIED", "", ("file", None), (None, declared)).await;
    audit(
        bed,
        before(60),
        "THRESHOLDS",
        "payments",
        ("ann@example.org", Some("opens too late, see #7")),
        (
            Some(r#"{"timeout": 60, "failure_rate_threshold": 90}"#),
            r#"{"timeout": 60, "failure_rate_threshold": 50}"#,
        ),
    )
    .await;
    let (payments, orders, search) = (("payments", "eu"), ("orders", ""), ("search", ""));
    let (mail, catalog, ledger, billing) = (("mail", ""), ("catalog", ""), ("ledger", ""), ("billing", ""));
    let mut shadow = step(9, search, 1, (MetricsOnly, Open), Reason::ConsecutiveFailures).at(after(300));
    if let Change::Transition(transition) = &mut shadow.change {
        transition.shadow = true;
    }
    let mut lone = step(10, mail, 0, (Closed, Open), Reason::FailureCount).at(after(400));
    lone.store_unavailable = true;
    let closed = Snapshot { entered_at: after(500), ..snapshot(Closed, 4) };
    let gap = Gap {
        lost_transitions: 3,
        at: after(500),
        base_epoch: 1,
        after: Some(closed),
        cause: GapCause::JournalFull,
    };
    let gap = Proposal { id: id(11), change: Change::Gap(Box::new(gap)), ..lone.clone() };
    let mut soon = step(19, billing, 0, (Closed, Disabled), Reason::OverrideSet).at(after(900));
    if let Change::Transition(transition) = &mut soon.change
        && let Some(set_by) = &mut transition.after.set_by
    {
        set_by.expires_at = Some(after(5_400));
    }
    let told = [
        step(1, payments, 0, (Closed, Open), Reason::FailureRate).at(start),
        step(2, payments, 1, (Open, HalfOpen), Reason::WaitElapsed).at(after(60)).counting(0, 0),
        step(3, payments, 2, (HalfOpen, Open), Reason::ProbesFailed).at(after(70)).counting(5, 5),
        step(4, orders, 0, (Closed, ForcedOpen), Reason::OverrideSet).at(after(100)),
        step(5, orders, 0, (Closed, Open), Reason::FailureRate).at(after(101)),
        step(6, payments, 3, (Open, HalfOpen), Reason::WaitElapsed).at(after(190)).counting(0, 0),
        step(7, payments, 4, (HalfOpen, Open), Reason::ProbesSlow).at(after(200)).counting(5, 0),
        step(8, search, 0, (Closed, MetricsOnly), Reason::OverrideSet).at(after(200)),
        shadow,
        step(12, payments, 5, (Open, HalfOpen), Reason::WaitElapsed).at(after(320)).counting(0, 0),
        lone,
        gap,
        step(13, mail, 4, (Closed, Open), Reason::FailureCount).at(after(600)),
        step(14, mail, 5, (Open, HalfOpen), Reason::ProbeRequested).at(after(660)).counting(0, 0),
        step(15, mail, 6, (HalfOpen, Closed), Reason::ProbesSucceeded).at(after(670)).counting(2, 0),
        step(16, catalog, 0, (Closed, Open), Reason::SlowCallRate).at(after(800)),
        step(18, ledger, 0, (Closed, Open), Reason::FailureRate).at(after(800)),
        soon,
        step(17, payments, 6, (HalfOpen, Closed), Reason::ProbesSucceeded).at(after(1_200)).counting(10, 1),
    ];
    for proposal in told {
        bed.store.propose(&[proposal]).await.unwrap();
    }
    override_service(bed, after(200)).await;
}

/// A column that holds a time, and what writes one into it: an integer in SQLite.
fn time(bed: &Bed, column: &str, time: Time) -> (String, String) {
    let micros = time.as_micros();
    match bed.target {
        Target::Sqlite(_) => (format!("{column}_us"), micros.to_string()),
        Target::Postgres(_) => {
            (column.to_owned(), format!("timestamptz 'epoch' + {micros} * interval '1 microsecond'"))
        }
    }
}

/// A row of the audit, under a revision of its own, as a change of configuration is.
async fn audit(
    bed: &Bed,
    at: Time,
    kind: &str,
    service: &str,
    (who, why): (&str, Option<&str>),
    (before, after): (Option<&str>, &str),
) {
    let (recorded_at, at) = time(bed, "recorded_at", at);
    let text = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{text}'"));
    let (why, before) = (text(why), text(before));
    bed.sql(&format!(
        "UPDATE revision SET n = n + 1;
         INSERT INTO audit (revision, number, {recorded_at}, actor, reason, kind, service, before, after)
         SELECT n, 0, {at}, '{who}', {why}, '{kind}', '{service}', {before}, '{after}' FROM revision"
    ))
    .await;
}

async fn override_service(bed: &Bed, at: Time) {
    let set = r#"{"state": "METRICS_ONLY", "actor": "bob", "reason": "new thresholds"}"#;
    audit(bed, at, "SERVICE_OVERRIDE", "search", ("bob", Some("new thresholds")), (None, set)).await;
    let (set_at, at) = time(bed, "set_at", at);
    bed.sql(&format!(
        "INSERT INTO service_override (service, kind, actor, reason, {set_at}, revision)
         SELECT 'search', 'METRICS_ONLY', 'bob', 'new thresholds', {at}, n FROM revision"
    ))
    .await;
}
