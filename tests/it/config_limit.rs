//! As many services as there may be have thresholds set over the API.

use breakerd::auth::TransportSecurity;
use breakerd::control::SERVICES_MAX;
use breakerd::store::Target;
use breakerd_api::v1::{ConfigSource, DeleteConfigRequest, UpdateConfigRequest};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::grpc_config::{failures, get, set, update};
use crate::grpc_world::World;
use crate::store_contract::on_every_database;
use crate::support::Bed;

on_every_database!(one_service_more_than_there_may_be_is_refused_and_changes_nothing);

/// Sets a threshold of `seeded-1`, `seeded-2` and so on: as many as there may be.
async fn seed(bed: &Bed) {
    let statement = match bed.target {
        Target::Sqlite(_) => format!(
            "WITH RECURSIVE seeds (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seeds WHERE n < {SERVICES_MAX})
             INSERT INTO service_config (service, layer, revision, changed_at_us)
             SELECT 'seeded-' || n, '{{\"failure_threshold\": 2}}', 0, 0 FROM seeds"
        ),
        Target::Postgres(_) => format!(
            "INSERT INTO service_config (service, layer, revision, changed_at)
             SELECT 'seeded-' || n, CAST('{{\"failure_threshold\": 2}}' AS jsonb), 0, 'epoch'
             FROM generate_series(1, {SERVICES_MAX}) AS n"
        ),
    };
    bed.sql(&statement).await;
}

/// That `status` says that there are as many as there may be.
fn is_full(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.message(), "limit reached: 10000 services have thresholds set through the API");
    assert_eq!(status.get_details_error_info().unwrap().reason, "CONFIG_LIMIT_REACHED");
}

async fn one_service_more_than_there_may_be_is_refused_and_changes_nothing(bed: &mut Bed) {
    seed(bed).await;
    bed.store.close().await;
    let world = World::on(&bed.target, TransportSecurity::disabled()).await;
    let mut client = world.configs().await;
    let audit = "SELECT CAST(count(*) AS TEXT) FROM audit";
    let (before, rows) = (get(&mut client, "one-more").await, bed.text(audit).await);
    let revision = world.store.revision().await.unwrap();
    // The file's own services have nothing set, and count as little as those that nobody configured.
    for service in ["one-more", "sentinel"] {
        is_full(&client.update_config(set(service, failures(9))).await.unwrap_err());
        let tried = UpdateConfigRequest { validate_only: true, ..set(service, failures(9)) };
        is_full(&client.update_config(tried).await.unwrap_err());
    }
    assert_eq!(get(&mut client, "one-more").await, before);
    assert_eq!((world.store.revision().await.unwrap(), bed.text(audit).await), (revision, rows));

    // Those that there are can be changed, and one that goes makes room for another.
    let (changed, _) = update(&mut client, set("seeded-7", failures(9))).await;
    assert_eq!(changed.sources["failure_threshold"], ConfigSource::Api as i32);
    let gone = DeleteConfigRequest { service: "seeded-8".into(), ..DeleteConfigRequest::default() };
    assert!(client.delete_config(gone).await.unwrap().into_inner().changed);
    assert!(update(&mut client, set("one-more", failures(9))).await.1);
    is_full(&client.update_config(set("seeded-8", failures(9))).await.unwrap_err());
    world.end().await;
}
