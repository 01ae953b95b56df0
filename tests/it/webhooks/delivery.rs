//! What is posted, and what becomes of targets that do not take it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use breaker::State;
use breakerd::auth::Pattern;
use breakerd::webhook::{EndpointTexts, Filter, Format, SecretUrl, UrlSource};
use breakerd_api::{FILE_DESCRIPTOR_SET, v1};
use breakerd_common::clock::Clock as _;
use hmac::{KeyInit as _, Mac as _};
use prost_reflect::{DescriptorPool, DynamicMessage};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use super::receiver::{Answer, Receiver, Rest};
use super::world::Posting;
use crate::grpc_world::START;
use crate::support::nobody_listens;

const SECOND: Duration = Duration::from_secs(1);

/// What the posted JSON says, as any client of the API would read it.
fn message(json: &[u8]) -> v1::Transition {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let descriptor = pool.get_message_by_name("breakerd.v1.Transition").unwrap();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    DynamicMessage::deserialize(descriptor, &mut deserializer).unwrap().transcode_to().unwrap()
}

#[tokio::test]
async fn what_is_posted_is_what_the_api_tells() {
    let posting = Posting::new(|_| {}).await;
    posting.life_of_sentinel().await;
    posting.settled().await;
    posting.world.write_behind().await;
    let list =
        v1::ListTransitionsRequest { order: v1::TransitionOrder::OldestFirst.into(), ..Default::default() };
    let listed =
        posting.world.operations().await.list_transitions(list).await.unwrap().into_inner().transitions;
    // Before the store has it, there is no word of when and where it has it.
    let told =
        |transition: v1::Transition| v1::Transition { recorded_at: None, revision: None, ..transition };
    let listed: Vec<_> = listed.into_iter().map(told).collect();
    let posts = posting.receiver.posts();
    let posted: Vec<_> = posts.iter().map(|post| message(&post.body)).collect();
    let states: Vec<_> = posts.iter().map(super::receiver::Post::to).collect();
    assert_eq!(states, ["OPEN", "HALF_OPEN", "CLOSED", "FORCED_OPEN", "CLOSED"]);
    // The journal of the world has another name for the replica.
    let unnamed = |transition: v1::Transition| v1::Transition {
        replica: String::new(),
        id: String::new(),
        ..transition
    };
    assert_eq!(
        posted.iter().cloned().map(unnamed).collect::<Vec<_>>(),
        listed.iter().cloned().map(unnamed).collect::<Vec<_>>()
    );
    assert_eq!(
        posted.iter().map(|transition| &transition.id).collect::<Vec<_>>(),
        listed.iter().map(|transition| &transition.id).collect::<Vec<_>>()
    );
    assert!(posts[0].json()["errorClass"] == "Timeout" && posts[3].json()["actorReason"] == "drill <now>");
    for post in &posts {
        assert_eq!((&*post.path, post.header("content-type")), ("/hook", "application/json"));
        assert_eq!(post.header("webhook-id"), post.json()["id"].as_str().unwrap());
        assert!(
            post.header("user-agent").starts_with("breakerd/")
                && !post.headers.contains_key("webhook-signature")
        );
    }
    assert_eq!(posting.counted(), [5, 0, 0, 0]);
    posting.end().await;
}

#[tokio::test]
async fn a_chat_gets_a_text() {
    let posting = Posting::new(|target| target.format = Format::Slack).await;
    posting.life_of_sentinel().await;
    posting.settled().await;
    let texts: Vec<_> = posting
        .receiver
        .posts()
        .iter()
        .map(|post| post.json()["text"].as_str().unwrap().to_owned())
        .collect();
    let starts = [
        ":red_circle: *sentinel* is *OPEN*, was CLOSED\nCONSECUTIVE_FAILURES: 3 of 3 calls failed, the last one with Timeout; next probes in 2m (",
        ":large_yellow_circle: *sentinel* is *HALF_OPEN*, was OPEN for 2m\nWAIT_ELAPSED (",
        ":large_green_circle: *sentinel* is *CLOSED*, was HALF_OPEN",
        ":octagonal_sign: *sentinel* is *FORCED_OPEN*, was CLOSED",
    ];
    for (text, start) in texts.iter().zip(starts) {
        assert!(text.starts_with(start), "{text}");
    }
    assert!(texts[3].contains(": drill &lt;now&gt;"), "{}", texts[3]);
    posting.end().await;
}

#[tokio::test]
async fn only_what_the_filter_takes_is_posted() {
    let patterns = |text: &str| vec![Pattern::of_names(text).unwrap()];
    let filter = Filter {
        services: patterns("sent*"),
        names: patterns("*inel"),
        states: vec![State::Open, State::Closed],
        without_reopened: true,
    };
    let posting = Posting::new(|target| target.filter = filter).await;
    posting.trip("payments", "sentinel").await;
    posting.trip("sentinel", "other").await;
    posting.trip("sentinel", "").await;
    posting.settled().await;
    posting.clock.advance(Duration::from_mins(2));
    // It opens again, and waits again.
    for _ in 0..2 {
        posting.probe("sentinel", v1::Outcome::Failure).await;
        posting.settled().await;
        posting.clock.advance(Duration::from_mins(2));
    }
    for _ in 0..2 {
        posting.probe("sentinel", v1::Outcome::Success).await;
    }
    posting.settled().await;
    let told: Vec<_> =
        posting.receiver.posts().iter().map(|post| (post.json()["name"].to_string(), post.to())).collect();
    let expected = [("\"sentinel\"", "OPEN"), ("\"sentinel\"", "CLOSED")];
    assert_eq!(told, expected.map(|(name, to)| (name.to_owned(), to.to_owned())));
    posting.end().await;
}

/// By another library than the one that signs.
fn signature(secret: &[u8], signed: &str) -> String {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn each_attempt_is_signed_with_its_time_by_both_secrets() {
    let (new, old) = ([1_u8; 32], [2_u8; 24]);
    let secrets = format!("whsec_{}\nwhsec_{}\n", STANDARD.encode(new), STANDARD.encode(old));
    let texts = EndpointTexts { secrets: Some(&secrets), ..EndpointTexts::default() };
    let posting = Posting::with(texts, |_| {}).await;
    posting.receiver.answers([Answer::Status(500)]);
    posting.trip("sentinel", "").await;
    posting.passes(SECOND, "it is posted", || posting.counted()[0] == 1).await;
    let posts = posting.receiver.posts();
    let mut seen = BTreeSet::new();
    for post in &posts {
        let (id, timestamp) = (post.header("webhook-id"), post.header("webhook-timestamp"));
        let signed = format!("{id}.{timestamp}.{}", str::from_utf8(&post.body).unwrap());
        let both = format!("{} {}", signature(&new, &signed), signature(&old, &signed));
        assert_eq!(post.header("webhook-signature"), both);
        let (timestamp_now, at) = (timestamp.parse::<u64>().unwrap(), post.at.as_micros() / 1_000_000);
        assert!((START.as_micros() / 1_000_000..=at).contains(&timestamp_now), "{timestamp} {at}");
        seen.insert((id.to_owned(), timestamp.to_owned()));
    }
    assert_eq!((posts.len(), seen.len()), (2, 2), "another time, and another signature");
    assert_eq!(posts[0].header("webhook-id"), posts[1].header("webhook-id"));
    posting.end().await;
}

#[tokio::test]
async fn what_fails_is_tried_again_and_the_order_is_kept() {
    let posting = Posting::new(|_| {}).await;
    posting.receiver.answers([Answer::Status(500), Answer::Status(408)]);
    posting.trip("sentinel", "").await;
    posting.trip("payments", "").await;
    posting.passes(SECOND / 4, "both are posted", || posting.counted()[0] == 2).await;
    let posts = posting.receiver.posts();
    let services: Vec<_> =
        posts.iter().map(|post| post.json()["service"].as_str().unwrap().to_owned()).collect();
    assert_eq!(services, ["sentinel", "sentinel", "sentinel", "payments"]);
    let paused = |index: usize| posts[index].at.since(posts[index - 1].at);
    // Three quarters of a second and of two, as the share that is random is a half.
    assert!(paused(1) >= SECOND * 3 / 4 && paused(2) >= SECOND * 3 / 2, "{posts:?}");
    assert_eq!(posting.counted(), [2, 0, 0, 2]);
    posting.end().await;
}

#[tokio::test]
async fn a_target_that_asks_to_wait_is_left_alone_for_as_long() {
    for date in [false, true] {
        let posting = Posting::new(|_| {}).await;
        let at = std::time::UNIX_EPOCH + START.since(breaker::Time::ZERO) + Duration::from_mins(2);
        let after = if date { httpdate::fmt_http_date(at) } else { "120".to_owned() };
        posting.receiver.answers([Answer::With(429, "retry-after", after)]);
        posting.trip("sentinel", "").await;
        posting.trip("payments", "").await;
        posting.passes(SECOND * 10, "both are posted", || posting.counted()[0] == 2).await;
        let posts = posting.receiver.posts();
        assert!(posts[1].at.since(posts[0].at) >= SECOND * 120, "{posts:?}");
        assert_eq!((posts.len(), posts[1].header("webhook-id")), (3, posts[0].header("webhook-id")));
        posting.end().await;
    }
}

#[tokio::test]
async fn what_a_target_rejects_is_not_tried_again_and_a_redirect_is_not_followed() {
    let elsewhere = Receiver::timeless().await;
    let posting = Posting::new(|_| {}).await;
    posting.receiver.answers([
        Answer::Status(400),
        Answer::Status(410),
        Answer::With(307, "location", elsewhere.url("/")),
    ]);
    for service in ["a", "b", "c", "d"] {
        posting.trip(service, "").await;
    }
    posting.settled().await;
    assert_eq!((posting.receiver.posts().len(), elsewhere.posts().len()), (4, 0));
    assert_eq!(posting.counted(), [1, 3, 0, 3]);
    posting.end().await;
}

#[tokio::test]
async fn a_target_that_hangs_is_cut_off_and_no_call_waits_for_it() {
    let posting = Posting::new(|target| target.queue_max = 2).await;
    posting.receiver.answers([Answer::Never]);
    posting.trip("first", "").await;
    crate::process::eventually("it hangs", async || posting.receiver.posts().len() == 1).await;
    // The clock stands still: whoever waited for the target would wait for ever.
    for service in ["a", "b", "c", "d"] {
        posting.trip(service, "").await;
    }
    assert_eq!((posting.counted(), posting.depth()), ([0, 0, 2, 0], 3));
    posting.passes(SECOND, "the newest are posted", || posting.counted()[0] == 3).await;
    let posts = posting.receiver.posts();
    let services: Vec<_> =
        posts.iter().map(|post| post.json()["service"].as_str().unwrap().to_owned()).collect();
    assert_eq!(services, ["first", "first", "c", "d"]);
    assert!(posts[1].at.since(posts[0].at) >= SECOND * 10, "{posts:?}");
    assert_eq!(posting.counted(), [3, 0, 2, 1]);
    posting.end().await;
}

/// The status has decided: neither the queue nor the outcome depends on the rest.
#[tokio::test]
async fn an_answer_without_an_end_holds_its_queue_for_a_moment() {
    for rest in [Rest::Silent, Rest::Fast] {
        let posting = Posting::new(|_| {}).await;
        posting.receiver.answers([200, 400, 204].map(|status| Answer::Endless(status, rest)));
        for service in ["a", "b", "c", "d"] {
            posting.trip(service, "").await;
        }
        let begun = posting.clock.now();
        let is_over = || posting.depth() == 0;
        posting.passes(Duration::from_millis(10), "nothing waits", is_over).await;
        // Three of them, 100 ms each at most, and steps of the clock that nobody waited for.
        assert!(posting.clock.now().since(begun) < SECOND, "{:?}", posting.receiver.posts());
        assert_eq!((posting.receiver.posts().len(), posting.counted()), (4, [3, 1, 0, 1]));
        posting.end().await;
    }
}

/// What comes with the head is read, so that the next post needs no connection of its own.
#[tokio::test]
async fn an_answer_with_a_body_keeps_its_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let taken = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\ntaken";
    let serving = tokio::spawn(async move {
        let (mut only, _) = listener.accept().await.unwrap();
        for _ in 0..3 {
            read_post(&mut only).await;
            only.write_all(taken).await.unwrap();
        }
    });
    let posting = Posting::new(|target| {
        target.url = UrlSource::Given(SecretUrl::parse(&url).unwrap());
    })
    .await;
    for service in ["a", "b", "c"] {
        posting.trip(service, "").await;
    }
    // By a clock that stands still.
    posting.settled().await;
    assert_eq!(posting.counted(), [3, 0, 0, 0]);
    posting.end().await;
    serving.await.unwrap();
}

/// A head may take as long as the timeout, and no body is waited for behind it.
#[tokio::test]
async fn a_head_that_comes_slowly_is_waited_for_until_the_timeout() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (goes_on, posted) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (told, tells) = (Arc::clone(&goes_on), Arc::clone(&posted));
    let serving = tokio::spawn(async move {
        // The first is never done with its head; the second one is, when it is told to.
        let mut first = answered_in_part(&listener, b"HTTP/1.1 200 OK\r\nx-a: b\r\n").await;
        tells.notify_one();
        let mut second = answered_in_part(&listener, b"HTTP/1.1 200 OK\r\n").await;
        told.notified().await;
        second.write_all(b"transfer-encoding: chunked\r\n\r\n").await.unwrap();
        // Until it is closed.
        for stream in [&mut first, &mut second] {
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    let posting = Posting::new(|target| {
        target.url = UrlSource::Given(SecretUrl::parse(&url).unwrap());
    })
    .await;
    posting.trip("sentinel", "").await;
    posted.notified().await;
    let begun = posting.clock.now();
    posting.passes(SECOND, "the first is cut off", || posting.counted()[3] == 1).await;
    assert!(posting.clock.now().since(begun) >= SECOND * 10);
    assert_eq!(posting.depth(), 1);
    goes_on.notify_one();
    posting.passes(Duration::from_millis(10), "the second is taken", || posting.depth() == 0).await;
    assert_eq!(posting.counted(), [1, 0, 0, 1]);
    posting.end().await;
    serving.await.unwrap();
}

/// A connection whose post has come, and has got this for an answer so far.
async fn answered_in_part(listener: &tokio::net::TcpListener, part: &[u8]) -> tokio::net::TcpStream {
    let (mut stream, _) = listener.accept().await.unwrap();
    read_post(&mut stream).await;
    stream.write_all(part).await.unwrap();
    stream
}

/// Until its body, in JSON, has ended.
async fn read_post(stream: &mut tokio::net::TcpStream) {
    let mut received = Vec::new();
    while !received.ends_with(b"}") {
        stream.read_buf(&mut received).await.unwrap();
    }
}

#[tokio::test]
async fn a_target_that_is_down_is_given_up_in_time() {
    let nobody = nobody_listens();
    let url = format!("http://{}/hook", nobody.local_addr().unwrap());
    let posting = Posting::new(|target| {
        target.url = UrlSource::Given(SecretUrl::parse(&url).unwrap());
        target.give_up_after = Duration::from_mins(5);
    })
    .await;
    let begun = posting.clock.now();
    posting.trip("sentinel", "").await;
    posting.passes(SECOND * 10, "it is given up", || posting.counted()[1] == 1).await;
    assert!(posting.clock.now().since(begun) >= Duration::from_mins(5));
    let [sent, failed, dropped, attempts] = posting.counted();
    assert!((sent, failed, dropped) == (0, 1, 0) && (6..20).contains(&attempts), "{attempts}");
    posting.end().await;
}

#[tokio::test]
async fn nothing_is_posted_of_what_metrics_only_prevents() {
    let posting = Posting::new(|_| {}).await;
    let held = Arc::new(Notify::new());
    posting.receiver.answers([Answer::Held(Arc::clone(&held))]);
    let set = v1::SetOverrideRequest {
        service: "sentinel".into(),
        state: v1::State::MetricsOnly.into(),
        reason: "try".into(),
        create: true,
        ..Default::default()
    };
    posting.world.operations().await.set_override(set).await.unwrap();
    posting.trip("sentinel", "").await;
    assert_eq!(posting.depth(), 1, "the override, and nothing that would have been");
    held.notify_one();
    posting.settled().await;
    assert_eq!(posting.receiver.posts()[0].to(), "METRICS_ONLY");
    posting.end().await;
}
