//! Where a watch that is resumed goes on, and where it begins anew in the same call: over the life of a store, on both.

use breaker::Time;
use breakerd::auth::Door;
use breakerd::proto::v1::watch_config_response::Event as Told;
use breakerd::proto::v1::watch_transitions_response::Event;
use breakerd::proto::v1::{DeleteConfigRequest, WatchConfigRequest, WatchTransitionsRequest};
use breakerd::store::Retention;

use crate::grpc_world::{World, trip};
use crate::store_contract::on_every_store;
use crate::support::Bed;
use crate::{watch_config, watch_transitions};

on_every_store!(
    a_token_of_the_configuration_from_before_what_was_forgotten_begins_anew,
    a_token_of_the_history_from_before_what_was_let_go_of_begins_anew,
    a_token_from_after_a_backup_that_was_restored_begins_anew,
    a_token_of_another_lineage_begins_anew,
);

/// Everything is old.
const FOREVER: Time = Time::from_micros(4_000_000_000_000_000);

/// A world on the store of `bed`, as after a start.
async fn world(bed: &Bed) -> World {
    bed.store.close().await;
    World::on(&bed.target, Door::open()).await
}

async fn prune(world: &World) {
    let retention = Retention { before: FOREVER, requests_before: FOREVER };
    while world.store.prune(retention).await.unwrap().transitions > 0 {}
}

/// Where a watch of the configuration, and one of the history, would go on now.
async fn tokens(world: &World) -> (String, String) {
    let mut configs = watch_config::watch(&mut world.configs().await, WatchConfigRequest::default()).await;
    let mut history = watch_transitions::watch(&mut world.operations().await, "").await;
    let (_, config) = watch_config::snapshot(&mut configs).await;
    (config, watch_transitions::snapshot(&mut history).await.2)
}

/// Why a watch of the configuration that is resumed begins anew, and its snapshot.
async fn begins_anew(world: &World, token: &str) -> (String, Vec<String>) {
    let mut stream = watch_config::watch(&mut world.configs().await, watch_config::resume(token)).await;
    let (first, none) = watch_config::news(&mut stream).await;
    let Told::Restart(restart) = first else { panic!("{first:?}") };
    assert_eq!(none, "");
    let (all, token) = watch_config::snapshot(&mut stream).await;
    assert_ne!(token, "", "it goes on from there");
    (restart.reason, all)
}

/// The same of the history; the snapshot has so many breakers.
async fn history_begins_anew(world: &World, token: &str) -> (String, usize) {
    let request =
        WatchTransitionsRequest { resume_token: token.into(), ..WatchTransitionsRequest::default() };
    let mut stream = world.operations().await.watch_transitions(request).await.unwrap().into_inner();
    let first = watch_transitions::next(&mut stream).await.unwrap().event.unwrap();
    let Event::Restart(restart) = first else { panic!("{first:?}") };
    let (states, _, token) = watch_transitions::snapshot(&mut stream).await;
    assert_ne!(token, "");
    (restart.reason, states.len())
}

/// The first that a watch of the configuration tells that is resumed.
async fn goes_on(world: &World, token: &str) -> String {
    let mut stream = watch_config::watch(&mut world.configs().await, watch_config::resume(token)).await;
    watch_config::told(&watch_config::news(&mut stream).await.0)
}

async fn a_token_of_the_configuration_from_before_what_was_forgotten_begins_anew(bed: &mut Bed) {
    let first = world(bed).await;
    let mut client = first.configs().await;
    let (before, _) = tokens(&first).await;
    watch_config::set(&mut client, "gone", 7).await;
    let delete = DeleteConfigRequest { service: "gone".into(), ..DeleteConfigRequest::default() };
    client.delete_config(delete).await.unwrap();
    let (after, _) = tokens(&first).await;
    watch_config::set(&mut client, "stays", 9).await;
    prune(&first).await;
    assert_eq!(first.store.configuration().await.unwrap().forgotten, 3);
    first.end().await;

    // The store does not know any more that there was a `gone`: whoever heard of it must forget it.
    let second = World::on(&bed.target, Door::open()).await;
    let (reason, all) = begins_anew(&second, &before).await;
    assert!(reason.contains("too old"), "{reason}");
    assert_eq!(all, ["defaults=5", "sentinel=3", "stays=9", "mark 4"]);
    assert_eq!(goes_on(&second, &after).await, "stays=9", "nothing behind this one was forgotten");
    second.end().await;
}

async fn a_token_of_the_history_from_before_what_was_let_go_of_begins_anew(bed: &mut Bed) {
    let first = world(bed).await;
    let mut breakers = first.breakers().await;
    trip(&mut breakers, "sentinel", "a").await;
    first.write_behind().await;
    let (_, before) = tokens(&first).await;
    trip(&mut breakers, "sentinel", "b").await;
    first.write_behind().await;
    prune(&first).await;
    let (reason, states) = history_begins_anew(&first, &before).await;
    assert!(reason.contains("does not reach back so far"), "{reason}");
    assert_eq!(states, 2);
    let (_, after) = tokens(&first).await;
    first.end().await;

    let second = World::on(&bed.target, Door::open()).await;
    let (_, states) = history_begins_anew(&second, &before).await;
    assert_eq!(states, 2);
    let mut stream = watch_transitions::watch(&mut second.operations().await, &after).await;
    trip(&mut second.breakers().await, "sentinel", "c").await;
    second.write_behind().await;
    watch_transitions::look(&second).await;
    let told = watch_transitions::news(&mut stream).await;
    assert!(matches!(&told, Event::Transition(transition) if transition.name == "c"), "{told:?}");
    drop(stream);
    second.end().await;
}

async fn a_token_from_after_a_backup_that_was_restored_begins_anew(bed: &mut Bed) {
    let original = world(bed).await;
    watch_config::set(&mut original.configs().await, "orders", 7).await;
    trip(&mut original.breakers().await, "sentinel", "a").await;
    original.write_behind().await;
    let (kept, kept_history) = tokens(&original).await;
    original.end().await;
    let backup = bed.restored_backup().await;

    let original = World::on(&bed.target, Door::open()).await;
    watch_config::set(&mut original.configs().await, "orders", 8).await;
    trip(&mut original.breakers().await, "sentinel", "b").await;
    original.write_behind().await;
    let (newer, newer_history) = tokens(&original).await;
    original.end().await;

    let restored = world(&backup).await;
    let (reason, all) = begins_anew(&restored, &newer).await;
    assert!(reason.contains("newer than the store"), "{reason}");
    assert_eq!(all, ["defaults=5", "orders=7", "sentinel=3", "mark 2"]);
    let (reason, states) = history_begins_anew(&restored, &newer_history).await;
    assert!(reason.contains("newer than the store"), "{reason}");
    assert_eq!(states, 1);
    // What the backup has, it goes on behind.
    watch_config::set(&mut restored.configs().await, "pay", 2).await;
    assert_eq!(goes_on(&restored, &kept).await, "pay=2");
    let mut stream = watch_transitions::watch(&mut restored.operations().await, &kept_history).await;
    trip(&mut restored.breakers().await, "sentinel", "c").await;
    restored.write_behind().await;
    watch_transitions::look(&restored).await;
    assert_eq!(watch_transitions::transitions(&mut stream, 1).await.len(), 1);
    drop(stream);
    restored.end().await;
    backup.end().await;
}

async fn a_token_of_another_lineage_begins_anew(bed: &mut Bed) {
    let before = world(bed).await;
    trip(&mut before.breakers().await, "sentinel", "a").await;
    before.write_behind().await;
    let (config, history) = tokens(&before).await;
    before.end().await;
    bed.sql("UPDATE meta SET lineage = lineage + 1").await;

    // The same store, and as new as the tokens; but what was told of it may be of what is no more.
    let after = World::on(&bed.target, Door::open()).await;
    let (reason, all) = begins_anew(&after, &config).await;
    assert!(reason.contains("another store"), "{reason}");
    assert_eq!(all, ["defaults=5", "sentinel=3", "mark 1"]);
    let (reason, states) = history_begins_anew(&after, &history).await;
    assert!(reason.contains("another store"), "{reason}");
    assert_eq!(states, 1);
    after.end().await;
}
