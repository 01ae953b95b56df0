//! Breakers that are deleted, and rows that go: through any replica, and for all.

use breaker::Time;
use breakerd::store::{Access, PostgresStore, TransitionStore as _};
use breakerd_api::v1::watch_breakers_response::Event;
use breakerd_api::v1::{
    AllowRequestRequest, AllowRequestResponse, DeleteBreakerRequest, Outcome, RecordResult,
    ResetBreakerRequest, State, WatchBreakersRequest,
};
use breakerd_common::clock::{Clock as _, SystemClock};

use super::{Replica, all_show, history};
use crate::process::eventually;
use crate::support::{new_database, postgres};

/// A breaker that is not configured.
const SERVICE: &str = "made-up";

async fn allow(replica: &Replica) -> AllowRequestResponse {
    replica.allow(SERVICE).await
}

/// Time passes: for the store, by what it keeps. There is no history of before any more.
async fn pass_forty_days(url: &str) {
    let mut database = postgres(url).await;
    let statements = [
        "UPDATE breaker SET entered_at = entered_at - interval '40 days', used_at = used_at - interval '40 days'",
        "DELETE FROM transition",
    ];
    for statement in statements {
        sqlx::query(statement).execute(&mut database).await.unwrap();
    }
}

/// Lets rows go as the retention of a replica does. Answers how many went.
async fn prune(url: &str) -> usize {
    let store = PostgresStore::connect(url, Access::Shared).await.unwrap();
    let (mut gone, mut after, before) = (0, None, Time::from_micros(u64::MAX >> 12));
    loop {
        let page = store.breakers_without_history(before, after.as_ref(), 10_000).await.unwrap();
        let Some((last, _)) = page.last() else { return gone };
        after = Some(last.clone());
        gone += store.delete_breakers(&page).await.unwrap().len();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_breaker_is_deleted_through_a_replica_that_does_not_use_it() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    // In use on one replica, where it never changed its state.
    let before = allow(&one).await.permit;
    let delete = || DeleteBreakerRequest { service: SERVICE.into(), ..Default::default() };
    let deleted = two.process.operations().await.delete_breaker(delete()).await.unwrap().into_inner();
    assert_eq!((deleted.epoch, deleted.changed, deleted.persisted), (1, true, true));
    eventually("it is there again", async || allow(&one).await.epoch == 1).await;
    let recorded = one.record(SERVICE, before, Outcome::Failure).await;
    assert_eq!(recorded.result(), RecordResult::Late);
    // It trips there, and is deleted through the third, which has only heard of it, while somebody watches the first.
    one.trip(SERVICE).await;
    // A deletion that comes to the store before the trip would win.
    let is_stored = async || history(&url, SERVICE).await.last() == Some(&("OPEN".to_owned(), 2));
    eventually("the trip is stored", is_stored).await;
    let request = WatchBreakersRequest { services: vec![SERVICE.into()], ..Default::default() };
    let mut watch = one.process.breakers().await.watch_breakers(request).await.unwrap().into_inner();
    let mut next = async || loop {
        if let Some(Event::Breaker(breaker)) = watch.message().await.unwrap().expect("it goes on").event {
            return (breaker.state(), breaker.epoch);
        }
    };
    assert_ne!(next().await.0, State::Closed);
    let deleted = three.process.operations().await.delete_breaker(delete()).await.unwrap().into_inner();
    assert!(deleted.changed && deleted.epoch > 2, "{deleted:?}");
    while next().await != (State::Closed, deleted.epoch) {}
    all_show([&one, &two, &three], SERVICE, State::Closed).await;
    let history = history(&url, SERVICE).await;
    assert_eq!(history.first(), Some(&("CLOSED".to_owned(), 1)));
    assert_eq!(history.last(), Some(&("CLOSED".to_owned(), i64::try_from(deleted.epoch).unwrap())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_no_replica_uses_goes_and_its_breaker_begins_anew() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    replicas[0].trip(SERVICE).await;
    let reset = || ResetBreakerRequest { service: SERVICE.into(), ..Default::default() };
    let is_reset = async || replicas[1].process.operations().await.reset_breaker(reset()).await.is_ok();
    eventually("another one has heard of it", is_reset).await;
    assert_eq!(prune(&url).await, 0, "there is history of it, and it is used");
    let mut folders = Vec::new();
    for replica in replicas {
        let Replica { process, folder } = replica;
        assert!(process.stop().await.success());
        folders.push(folder);
    }
    pass_forty_days(&url).await;
    let mut replicas = Vec::new();
    for (folder, name) in folders.into_iter().zip(["one", "two", "three"]) {
        replicas.push(Replica::in_folder(folder, &url, name).await);
    }
    assert_eq!(prune(&url).await, 1);
    // They still know its epoch, and hear that it is gone when they use it again.
    for replica in &replicas {
        let epoch = async || allow(replica).await.epoch;
        eventually("it begins anew", async || epoch().await == 0).await;
    }
    replicas[1].trip(SERVICE).await;
    for replica in &replicas {
        eventually("it trips for all", async || allow(replica).await.epoch > 0).await;
    }
    assert_eq!(history(&url, SERVICE).await.first(), Some(&("OPEN".to_owned(), 1)));
    // One that is used stays: a replica says so when it starts.
    pass_forty_days(&url).await;
    let Replica { process, folder } = replicas.pop().unwrap();
    assert!(process.stop().await.success());
    let _three = Replica::in_folder(folder, &url, "three").await;
    let is_used = async || {
        let query = "SELECT used_at > now() - interval '1 hour' FROM breaker";
        sqlx::query_scalar(query).fetch_one(&mut postgres(&url).await).await.unwrap()
    };
    eventually("a replica says that it uses it", is_used).await;
    assert_eq!(prune(&url).await, 0);
}

/// A client makes up names: by hand, as it takes a minute.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: 100,000 breakers"]
async fn a_hundred_thousand_made_up_names_leave_nothing_behind() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    for (index, replica) in replicas.iter().enumerate() {
        let mut client = replica.process.breakers().await;
        for number in 0..1_000 {
            let name = format!("name-{index}-{number}");
            let request = AllowRequestRequest { service: SERVICE.into(), name, ..Default::default() };
            client.allow_request(request).await.unwrap();
        }
    }
    let rows = async || {
        let query = "SELECT count(*) FROM breaker";
        sqlx::query_scalar::<_, i64>(query).fetch_one(&mut postgres(&url).await).await.unwrap()
    };
    assert_eq!(rows().await, 0, "names that never tripped have no rows");
    // As many have tripped and closed since.
    let insert = "WITH bumped AS (UPDATE revision SET n = n + 1 RETURNING n),
                       noted AS (INSERT INTO change (rev, nonce, recorded_at) SELECT n, 7, now() FROM bumped)
                  INSERT INTO breaker (service, name, epoch, state, open_count, entered_at, config_revision, revision)
                  SELECT 'made-up', 'tripped-' || number, 3, 'CLOSED', 0, now() - interval '50 days', 1, n
                  FROM bumped, generate_series(1, 100000) AS number";
    sqlx::query(insert).execute(&mut postgres(&url).await).await.unwrap();
    let clock = SystemClock::start();
    let restarted = async |replica: Replica, name| {
        let Replica { process, folder } = replica;
        assert!(process.stop().await.success());
        let began = clock.now();
        let replica = Replica::in_folder(folder, &url, name).await;
        (clock.now().since(began), replica)
    };
    let [one, two, three] = replicas;
    let (with_rows, one) = restarted(one, "one").await;
    println!("{} rows: started in {with_rows:?}, {} bytes", rows().await, one.process.resident_bytes());
    pass_forty_days(&url).await;
    let began = clock.now();
    assert_eq!(prune(&url).await, 100_000);
    println!("pruned in {:?}", clock.now().since(began));
    let (without, one) = restarted(one, "one").await;
    println!("{} rows: started in {without:?}, {} bytes", rows().await, one.process.resident_bytes());
    assert_eq!(rows().await, 0);
    drop((two, three));
}
