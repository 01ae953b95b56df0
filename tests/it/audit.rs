//! What an operator did by hand stands in the audit and in the history, with who and why: asked of both stores by SQL.

use breakerd::auth::{Principals, Role};
use breakerd_api::v1::{
    ClearOverrideRequest, Outcome, ProbeBreakerRequest, RecordOutcomeRequest, ResetBreakerRequest,
    SetOverrideRequest, State,
};
use tonic::Code;

use crate::auth::{add, security};
use crate::grpc_world::World;
use crate::store_contract::on_every_database;
use crate::support::Bed;

on_every_database!(
    what_was_done_to_a_breaker_stands_in_the_audit_and_the_history,
    what_was_done_to_a_service_is_one_row_of_the_audit_and_one_of_each_breaker_in_the_history,
    what_was_refused_or_changed_nothing_leaves_no_row,
);

/// Rows of the audit, as `kind service/name before>after actor: why`.
const AUDIT: &str = "
    SELECT string_agg(
        kind || ' ' || service || '/' || name || ' ' || coalesce(before ->> 'state', '-') || '>'
            || coalesce(after ->> 'state', '-') || ' ' || actor || ': ' || why,
        '; ' ORDER BY revision, number
    ) FROM changes WHERE kind <> 'FILE_APPLIED'";
/// Rows of the history that somebody asked for, as `service/name from>to reason actor: why`.
const HISTORY: &str = "
    SELECT string_agg(
        service || '/' || name || ' ' || from_state || '>' || to_state || ' ' || reason || ' ' || actor || ': ' || why,
        '; ' ORDER BY revision, number
    ) FROM history WHERE actor IS NOT NULL";

/// Ada, who may do everything by hand, and may call.
struct Ada {
    world: World,
    holder: crate::auth::Holder,
}

impl Ada {
    async fn at(bed: &Bed) -> Self {
        bed.store.close().await;
        let mut principals = Principals::default();
        let holder = add(&mut principals, "ada", &[Role::Caller, Role::Operator], &[]);
        let world = World::on(&bed.target, security(principals)).await;
        world.keep_writing();
        Self { world, holder }
    }

    async fn set(&self, name: &str, service_wide: bool, state: State, reason: &str) -> u32 {
        let request = SetOverrideRequest {
            service: "db".into(),
            name: name.into(),
            state: state as i32,
            reason: reason.into(),
            service_wide,
            create: true,
            ..SetOverrideRequest::default()
        };
        let mut client = self.world.operations().await;
        client.set_override(self.holder.shows(request)).await.unwrap().into_inner().breakers_changed
    }

    async fn clear(&self, name: &str, service_wide: bool, reason: &str) -> Result<u32, Code> {
        let (service, name, reason) = ("db".into(), name.into(), reason.into());
        let request = ClearOverrideRequest { service, name, reason, service_wide };
        let cleared = self.world.operations().await.clear_override(self.holder.shows(request)).await;
        cleared.map(|done| done.into_inner().breakers_changed).map_err(|status| status.code())
    }

    async fn reset(&self, name: &str, reason: &str) -> Result<(), Code> {
        let request = ResetBreakerRequest { service: "db".into(), name: name.into(), reason: reason.into() };
        let done = self.world.operations().await.reset_breaker(self.holder.shows(request)).await;
        done.map(drop).map_err(|status| status.code())
    }

    async fn probe(&self, name: &str, reason: &str) -> Result<(), Code> {
        let request = ProbeBreakerRequest { service: "db".into(), name: name.into(), reason: reason.into() };
        let done = self.world.operations().await.probe_breaker(self.holder.shows(request)).await;
        done.map(drop).map_err(|status| status.code())
    }

    async fn trip(&self, name: &str) {
        let mut client = self.world.breakers().await;
        for _ in 0..5 {
            let failure = RecordOutcomeRequest {
                service: "db".into(),
                name: name.into(),
                outcome: Outcome::Failure as i32,
                ..RecordOutcomeRequest::default()
            };
            client.record_outcome(self.holder.shows(failure)).await.unwrap();
        }
    }

    /// What the audit and the history have, once the store has everything.
    async fn rows(self, bed: &Bed) -> (Vec<String>, Vec<String>) {
        self.world.write_behind().await;
        self.world.end().await;
        let rows = async |query| {
            let all = bed.text(query).await.unwrap_or_default();
            all.split("; ").filter(|row| !row.is_empty()).map(str::to_owned).collect()
        };
        (rows(AUDIT).await, rows(HISTORY).await)
    }
}

async fn what_was_done_to_a_breaker_stands_in_the_audit_and_the_history(bed: &mut Bed) {
    let ada = Ada::at(bed).await;
    assert_eq!(ada.set("eu", false, State::ForcedOpen, "its disks are changed").await, 1);
    assert_eq!(ada.clear("eu", false, "they are changed").await, Ok(1));
    ada.trip("eu").await;
    assert_eq!(ada.probe("eu", "it is back").await, Ok(()));
    assert_eq!(ada.reset("eu", "it was us").await, Ok(()));
    let (audit, history) = ada.rows(bed).await;
    assert_eq!(
        audit,
        [
            "OVERRIDE_SET db/eu CLOSED>FORCED_OPEN ada: its disks are changed",
            "OVERRIDE_CLEARED db/eu FORCED_OPEN>CLOSED ada: they are changed",
            "PROBE_REQUESTED db/eu OPEN>HALF_OPEN ada: it is back",
            "RESET db/eu HALF_OPEN>CLOSED ada: it was us",
        ]
    );
    assert_eq!(
        history,
        [
            "db/eu CLOSED>FORCED_OPEN OVERRIDE_SET ada: its disks are changed",
            "db/eu FORCED_OPEN>CLOSED OVERRIDE_CLEARED ada: they are changed",
            "db/eu OPEN>HALF_OPEN PROBE_REQUESTED ada: it is back",
            "db/eu HALF_OPEN>CLOSED RESET ada: it was us",
        ],
        "and nobody opened it"
    );
}

async fn what_was_done_to_a_service_is_one_row_of_the_audit_and_one_of_each_breaker_in_the_history(
    bed: &mut Bed,
) {
    let ada = Ada::at(bed).await;
    for name in ["eu", "us"] {
        ada.trip(name).await;
    }
    assert_eq!(ada.set("", true, State::Disabled, "a drill").await, 2);
    assert_eq!(ada.clear("", true, "it is over").await, Ok(2));
    let (audit, mut history) = ada.rows(bed).await;
    assert_eq!(
        audit,
        ["SERVICE_OVERRIDE db/ ->DISABLED ada: a drill", "SERVICE_OVERRIDE db/ DISABLED>- ada: it is over"]
    );
    history.sort();
    assert_eq!(
        history,
        [
            "db/eu DISABLED>CLOSED OVERRIDE_CLEARED ada: it is over",
            "db/eu OPEN>DISABLED OVERRIDE_SET ada: a drill",
            "db/us DISABLED>CLOSED OVERRIDE_CLEARED ada: it is over",
            "db/us OPEN>DISABLED OVERRIDE_SET ada: a drill",
        ]
    );
}

async fn what_was_refused_or_changed_nothing_leaves_no_row(bed: &mut Bed) {
    let ada = Ada::at(bed).await;
    assert_eq!(ada.set("eu", false, State::ForcedOpen, "its disks are changed").await, 1);
    assert_eq!(ada.set("eu", false, State::ForcedOpen, "its disks are changed").await, 0);
    assert_eq!(ada.probe("eu", "too early").await, Err(Code::FailedPrecondition));
    assert_eq!(ada.clear("", true, "there is none").await, Err(Code::FailedPrecondition));
    assert_eq!(ada.reset("nobody", "who?").await, Err(Code::NotFound));
    let (audit, history) = ada.rows(bed).await;
    assert_eq!(audit, ["OVERRIDE_SET db/eu CLOSED>FORCED_OPEN ada: its disks are changed"]);
    assert_eq!(history, ["db/eu CLOSED>FORCED_OPEN OVERRIDE_SET ada: its disks are changed"]);
}
