//! The replicas of the store, on the wire.

use breaker::Time;
use breakerd_api::{time, v1};

use crate::roster::Roster;

/// What is answered, when the wall clock says `wall`.
pub(crate) fn replicas(roster: &Roster, wall: Time) -> v1::ListReplicasResponse {
    let replica = |stored: &crate::store::StoredReplica| {
        let replica = &stored.replica;
        v1::Replica {
            name: replica.name.clone(),
            version: replica.version.clone(),
            started_at: Some(time::to_timestamp(wall - replica.uptime)),
            revision: replica.revision,
            waiting_transitions: replica.waiting,
            silent_for: Some(time::to_duration(stored.silent)),
            responding: replica.boot == roster.answering,
            permit_key: replica.permit_key,
        }
    };
    v1::ListReplicasResponse {
        replicas: roster.replicas.iter().map(replica).collect(),
        revision: roster.revision,
        shared: roster.is_shared,
        alone: roster.is_alone,
    }
}
