//! Where a watch that is resumed goes on, and where it begins anew in the same call: over the life of a store, on both.

use breaker::Time;
use breakerd::auth::TransportSecurity;
use breakerd::lifecycle::{PositionFile, SeenPosition, run_tail};
use breakerd::store::Retention;
use breakerd_api::v1::watch_config_response::Event as Told;
use breakerd_api::v1::watch_transitions_response::Event;
use breakerd_api::v1::{
    DeleteConfigRequest, Outcome, RecordResult, WatchConfigRequest, WatchTransitionsRequest,
};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use crate::grpc_world::{World, ask, report, trip};
use crate::process::{Process, eventually};
use crate::store_contract::on_every_database;
use crate::support::Bed;
use crate::{watch_config, watch_transitions};

on_every_database!(
    a_token_of_the_configuration_from_before_what_was_forgotten_begins_anew,
    a_token_of_the_history_from_before_what_was_let_go_of_begins_anew,
    a_token_from_after_a_backup_that_was_restored_begins_anew,
    a_token_of_another_timeline_begins_anew,
    a_token_of_a_history_that_another_has_replaced_begins_anew,
    a_store_that_goes_back_while_it_is_followed_restarts_its_watchers,
    another_history_at_the_same_revision_is_found_out,
);

/// How often the end of the history is looked at, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Everything is old.
const FOREVER: Time = Time::from_micros(4_000_000_000_000_000);

/// A world on the store of `bed`, as after a start.
async fn world(bed: &Bed) -> World {
    bed.store.close().await;
    World::on(&bed.target, TransportSecurity::disabled()).await
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
    let Told::Resync(restart) = first else { panic!("{first:?}") };
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
    let Event::Resync(restart) = first else { panic!("{first:?}") };
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
    let second = World::on(&bed.target, TransportSecurity::disabled()).await;
    let (reason, all) = begins_anew(&second, &before).await;
    assert!(reason.contains("too old"), "{reason}");
    assert_eq!(all, ["defaults=5", "sentinel=3", "stays=9", "bookmark 4"]);
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

    let second = World::on(&bed.target, TransportSecurity::disabled()).await;
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

    let original = World::on(&bed.target, TransportSecurity::disabled()).await;
    watch_config::set(&mut original.configs().await, "orders", 8).await;
    trip(&mut original.breakers().await, "sentinel", "b").await;
    original.write_behind().await;
    let (newer, newer_history) = tokens(&original).await;
    original.end().await;

    let restored = world(&backup).await;
    let (reason, all) = begins_anew(&restored, &newer).await;
    assert!(reason.contains("newer than the store"), "{reason}");
    assert_eq!(all, ["defaults=5", "orders=7", "sentinel=3", "bookmark 2"]);
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

async fn a_token_of_another_timeline_begins_anew(bed: &mut Bed) {
    let before = world(bed).await;
    trip(&mut before.breakers().await, "sentinel", "a").await;
    before.write_behind().await;
    let (config, history) = tokens(&before).await;
    before.end().await;
    bed.sql("UPDATE meta SET timeline = timeline + 1").await;

    // The same store, and as new as the tokens; but what was told of it may be of what is no more.
    let after = World::on(&bed.target, TransportSecurity::disabled()).await;
    let (reason, all) = begins_anew(&after, &config).await;
    assert!(reason.contains("the store went back to an older state"), "{reason}");
    assert_eq!(all, ["defaults=5", "sentinel=3", "bookmark 1"]);
    let (reason, states) = history_begins_anew(&after, &history).await;
    assert!(reason.contains("the store went back to an older state"), "{reason}");
    assert_eq!(states, 1);
    after.end().await;
}

/// Takes the store back to `revision`, past breakerd, as a backup does that is put back under a running one.
async fn wind_back(bed: &Bed, revision: u64) {
    let sql = format!(
        "UPDATE revision SET n = {revision};
         DELETE FROM change WHERE rev > {revision};
         DELETE FROM transition WHERE revision > {revision};
         DELETE FROM breaker WHERE revision > {revision};
         DELETE FROM audit WHERE revision > {revision};
         DELETE FROM service_config WHERE revision > {revision};
         UPDATE config_head SET revision = {revision} WHERE revision > {revision};"
    );
    bed.sql(&sql).await;
}

/// Follows the store as a server does, until the token is cancelled.
fn follow(
    world: &World,
    folder: &tempfile::TempDir,
) -> (tokio::task::JoinHandle<anyhow::Result<()>>, CancellationToken) {
    let (loaded, stop) = (world.app.loaded().unwrap(), CancellationToken::new());
    let follow = run_tail(
        Arc::clone(&loaded.feeds),
        Arc::clone(&loaded.control),
        Arc::clone(&loaded.journal),
        Arc::new(world.clock.clone()),
        Arc::default(),
        PositionFile::at(folder.path().join("position")),
        stop.clone(),
    );
    (tokio::spawn(follow), stop)
}

/// Lets the time pass at which whoever follows the store looks at it without having written, and finds it replaced.
async fn looked_again(world: &World, timeline: u32) {
    eventually("the timeline has risen", async || {
        // It sleeps, or is about to: time moves on once it does.
        world.clock.advance(LOOK_EVERY);
        world.store.meta().await.unwrap().timeline > timeline
    })
    .await;
}

async fn a_token_of_a_history_that_another_has_replaced_begins_anew(bed: &mut Bed) {
    let original = world(bed).await;
    original.end().await;
    let backup = bed.restored_backup().await;
    let original = World::on(&bed.target, TransportSecurity::disabled()).await;
    for number in 0..10 {
        trip(&mut original.breakers().await, "sentinel", &format!("lost-{number}")).await;
        original.write_behind().await;
    }
    watch_config::set(&mut original.configs().await, "lost", 7).await;
    let (config, history) = tokens(&original).await;
    original.end().await;

    // The backup goes on past the revision of the token: by its number alone it could be resumed at.
    let restored = world(&backup).await;
    for number in 0..14 {
        trip(&mut restored.breakers().await, "sentinel", &format!("other-{number}")).await;
        restored.write_behind().await;
    }
    let (reason, all) = begins_anew(&restored, &config).await;
    assert!(reason.contains("another history"), "{reason}");
    assert_eq!(all, ["defaults=5", "sentinel=3", "bookmark 1"]);
    let (reason, states) = history_begins_anew(&restored, &history).await;
    assert!(reason.contains("another history"), "{reason}");
    assert_eq!(states, 14);
    restored.end().await;
    backup.end().await;
}

async fn a_store_that_goes_back_while_it_is_followed_restarts_its_watchers(bed: &mut Bed) {
    let (world, folder) = (world(bed).await, tempfile::tempdir().unwrap());
    let (followed, stop) = follow(&world, &folder);
    let before = world.store.meta().await.unwrap();
    trip(&mut world.breakers().await, "sentinel", "kept").await;
    world.write_behind().await;
    let kept = world.store.revision().await.unwrap();
    trip(&mut world.breakers().await, "sentinel", "lost").await;
    world.write_behind().await;
    watch_config::set(&mut world.configs().await, "lost", 7).await;
    let mut configs = watch_config::watch(&mut world.configs().await, WatchConfigRequest::default()).await;
    let mut history = watch_transitions::watch(&mut world.operations().await, "").await;
    let (told, config) = watch_config::snapshot(&mut configs).await;
    assert!(told.contains(&"lost=7".to_owned()), "{told:?}");
    let (states, _, token) = watch_transitions::snapshot(&mut history).await;
    assert_eq!(states.len(), 2);
    // All of it was seen; what nobody saw cannot be missed.
    let newest = world.store.revision().await.unwrap();
    let tail = &world.app.loaded().unwrap().feeds.tail;
    eventually("the store is followed", async || tail.anchor().revision >= newest).await;

    wind_back(bed, kept).await;
    looked_again(&world, before.timeline).await;
    // The streams that are open hear of it, and so does whoever resumes.
    let (first, _) = watch_config::news(&mut configs).await;
    assert!(
        matches!(&first, Told::Resync(restart) if restart.reason.contains("another history")),
        "{first:?}"
    );
    let (all, _) = watch_config::snapshot(&mut configs).await;
    assert_eq!(all[..2], ["defaults=5", "sentinel=3"], "{all:?}");
    let first = watch_transitions::news(&mut history).await;
    assert!(
        matches!(&first, Event::Resync(restart) if restart.reason.contains("another history")),
        "{first:?}"
    );
    let (states, _, _) = watch_transitions::snapshot(&mut history).await;
    assert_eq!(states.iter().map(|state| &*state.name).collect::<Vec<_>>(), ["kept"]);
    begins_anew(&world, &config).await;
    history_begins_anew(&world, &token).await;
    let after = world.store.meta().await.unwrap();
    assert!(after.timeline > before.timeline, "{} and {}", after.timeline, before.timeline);
    // And it goes on.
    trip(&mut world.breakers().await, "sentinel", "new").await;
    watch_transitions::transitions(&mut history, 1).await;
    drop((configs, history));
    stop.cancel();
    followed.await.unwrap().unwrap();
    let seen = PositionFile::at(folder.path().join("position")).read().unwrap().unwrap();
    assert_eq!(seen.timeline, after.timeline);
    world.end().await;
}

async fn another_history_at_the_same_revision_is_found_out(bed: &mut Bed) {
    let (world, folder) = (world(bed).await, tempfile::tempdir().unwrap());
    trip(&mut world.breakers().await, "sentinel", "a").await;
    world.write_behind().await;
    let newest = world.store.revision().await.unwrap();
    let (followed, stop) = follow(&world, &folder);
    let tail = Arc::clone(&world.app.loaded().unwrap().feeds.tail);
    eventually("the store is followed", async || tail.anchor().revision >= newest).await;
    let before = world.store.meta().await.unwrap().timeline;
    bed.sql(&format!("UPDATE change SET nonce = nonce / 2 + 1 WHERE rev = {newest}")).await;
    looked_again(&world, before).await;
    let risen = world.store.meta().await.unwrap().timeline;
    eventually("the new one is followed", async || tail.seen().unwrap().0 == risen).await;
    // Once: what has a timeline of its own has not gone back.
    trip(&mut world.breakers().await, "sentinel", "b").await;
    world.write_behind().await;
    let newest = world.store.revision().await.unwrap();
    eventually("it is followed further", async || tail.anchor().revision >= newest).await;
    assert_eq!(world.store.meta().await.unwrap().timeline, risen);
    stop.cancel();
    followed.await.unwrap().unwrap();
    world.end().await;
}

/// The newest revision that a process with this data folder has seen of its store.
fn position(data: &std::path::Path) -> Option<SeenPosition> {
    let mut files = std::fs::read_dir(data).unwrap().map(|file| file.unwrap().path());
    // Not the one that is about to take its place.
    let file = files.find(|path| {
        path.extension().is_none() && path.file_name().unwrap().to_string_lossy().starts_with("position")
    })?;
    PositionFile::at(file).read().unwrap()
}

#[tokio::test]
async fn a_store_that_was_restored_while_breakerd_was_stopped_has_another_timeline() {
    let folder = tempfile::tempdir().unwrap();
    let (database, backup) = (folder.path().join("data/breakerd.db"), folder.path().join("backup.db"));
    let target = breakerd::store::Target::Sqlite(database.clone());
    let timeline = async || -> u64 {
        let text = crate::support::text(&target, "SELECT CAST(timeline AS TEXT) FROM meta").await;
        text.unwrap().parse().unwrap()
    };
    let process = Process::ready(folder.path(), None).await;
    trip(&mut process.breakers().await, "sentinel", "kept").await;
    assert!(process.stop().await.success());
    // As docs/operating.md says to: a process that stops on a slow disk may leave its last transactions in the WAL.
    crate::support::sql(&target, &format!("VACUUM INTO '{}'", backup.display())).await;
    let restore = || {
        std::fs::copy(&backup, &database).unwrap();
        for beside in ["db-wal", "db-shm"] {
            match std::fs::remove_file(database.with_extension(beside)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{beside}: {error}"),
                _ => (),
            }
        }
    };
    let kept = crate::support::text(&target, "SELECT CAST(n AS TEXT) FROM revision").await;
    let kept: u64 = kept.unwrap().parse().unwrap();

    let process = Process::ready(folder.path(), None).await;
    assert_eq!(timeline().await, 0, "a restart alone is nothing");
    let mut breakers = process.breakers().await;
    let permit = breakers.allow_request(ask("sentinel", "other")).await.unwrap().into_inner();
    trip(&mut breakers, "sentinel", "lost").await;
    // What nobody saw cannot be missed.
    eventually("it was seen", async || {
        position(&folder.path().join("data")).is_some_and(|seen| seen.change.revision > kept)
    })
    .await;
    assert!(process.stop().await.success());
    restore();

    let process = Process::ready(folder.path(), None).await;
    let risen = timeline().await;
    assert!(risen > 0);
    let noted = position(&folder.path().join("data")).unwrap();
    assert_eq!(u64::from(noted.timeline), risen, "before anything is decided in it");
    let mut breakers = process.breakers().await;
    breakers.allow_request(ask("sentinel", "other")).await.unwrap();
    let late = breakers.record_outcome(report(&permit, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(late.result(), RecordResult::Late, "what was decided before means nothing after");
    assert!(process.stop().await.success());

    // The same backup again: another timeline than the first time.
    restore();
    let process = Process::ready(folder.path(), None).await;
    assert!(timeline().await > risen);
    assert!(process.stop().await.success());
}
