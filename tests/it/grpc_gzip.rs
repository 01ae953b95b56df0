//! Messages that are compressed, either way, and where that is done.

use breakerd_api::v1::{AllowRequestResponse, AllowRequestsResponse};
use flate2::read::GzDecoder;
use http::HeaderValue;
use prost::Message as _;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::body_client::{ALLOW, ALLOW_MANY, Client, LONG, Sent, allow_one, batch, gzipped, read, reason};
use crate::grpc_world::{World, ask};
use crate::raw::framed;

#[tokio::test]
async fn gzip_is_taken_and_given() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip")];
    let (status, head, answer) =
        client.call(ALLOW_MANY, &headers, gzipped(&batch(128).encode_to_vec())).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert_eq!(head["grpc-encoding"], "gzip");
    assert_eq!(answer[0], 1, "it is compressed");
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(&answer[5..]), &mut message).unwrap();
    assert!(answer.len() < message.len());
    assert_eq!(AllowRequestsResponse::decode(&*message).unwrap().results.len(), 128);

    // A short answer is not, and neither is that of a client that does not compress what it sends.
    let (_, _, answer) = client.call(ALLOW, &headers, gzipped(&ask("payments", "").encode_to_vec())).await;
    assert!(AllowRequestResponse::decode(&answer[5..]).unwrap().allowed);
    let (_, head, answer) = client.call(ALLOW_MANY, &headers[1..], framed(&batch(128).encode_to_vec())).await;
    assert_eq!((head.get("grpc-encoding"), answer[0]), (None, 0));

    // A bomb is not read beyond the limit of the method.
    let bomb = gzipped(&vec![0; 30_000_000]);
    for (path, bytes_max) in [(ALLOW_MANY, "1048576"), (ALLOW, "16384")] {
        let sent = if path == ALLOW { gzipped(&vec![0; 1_000_000]) } else { bomb.clone() };
        let (status, ..) = client.call(path, &headers, sent).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        assert_eq!(status.get_details_error_info().unwrap().metadata["bytes_max"], bytes_max);
    }
    let mut none = allow_one();
    none[0] = 1;
    let (status, ..) = client.call(ALLOW, &headers, none).await;
    assert_eq!(status.code(), Code::InvalidArgument, "what is no gzip");
    let (status, head, _) = client.call(ALLOW, &[("grpc-encoding", "snappy")], allow_one()).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_ENCODING"));
    assert_eq!(head["grpc-accept-encoding"], "identity,gzip");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_is_large_once_decompressed_is_one_like_any_other() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let headers = [("grpc-encoding", "gzip")];
    let lawful = batch(1_000).encode_to_vec();
    assert!(lawful.len() > 20_000, "not decompressed where it arrives");
    let (status, _, answer) = client.call(ALLOW_MANY, &headers, gzipped(&lawful)).await;
    assert_eq!(status.code(), Code::Ok);
    let answer = AllowRequestsResponse::decode(&answer[5..]).unwrap();
    assert_eq!(answer.results.len(), 1_000);
    // A kilobyte that is a megabyte, of a hundred clients at once, and what is no gzip behind its first bytes.
    let bomb = gzipped(&vec![0; (1 << 20) - 10]);
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (bomb, mut client) = (bomb.clone(), Client::of(&world).await);
        senders.spawn(async move { client.call(ALLOW_MANY, &headers, bomb).await.0.code() });
    }
    while let Some(code) = senders.join_next().await {
        assert_eq!(code.unwrap(), Code::InvalidArgument);
    }
    let mut torn = gzipped(&lawful);
    let end = torn.len() - 9;
    torn[end] ^= 0xff;
    let (status, ..) = client.call(ALLOW_MANY, &headers, torn).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    drop(client);
    world.end().await;
}

/// Sends a batch of `requests` as gzip while the only thread that may block is busy, and finds it unanswered behind many
/// other calls until that thread is free.
async fn waits_for_a_thread(requests: usize) {
    const CALLS_BEHIND: usize = 100;
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let (free, until) = std::sync::mpsc::channel::<()>();
    let busy = tokio::task::spawn_blocking(move || until.recv());
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "gzip")];
    let large = client.begin(ALLOW_MANY, &headers, Sent::Whole(gzipped(&batch(requests).encode_to_vec())));
    let large = tokio::spawn(async move { read(large.await.unwrap()).await });
    for _ in 0..CALLS_BEHIND {
        let small = gzipped(&ask("payments", "").encode_to_vec());
        assert_eq!(client.call(ALLOW, &headers, small).await.0.code(), Code::Ok);
    }
    assert!(!large.is_finished(), "the thread that decides did it");
    drop(free);
    assert!(busy.await.unwrap().is_err());
    let (status, head, answer) = tokio::time::timeout(LONG, large).await.unwrap().unwrap();
    assert_eq!((status.code(), &head["grpc-encoding"]), (Code::Ok, &HeaderValue::from_static("gzip")));
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(&answer[5..]), &mut message).unwrap();
    assert_eq!(AllowRequestsResponse::decode(&*message).unwrap().results.len(), requests);
    drop(client);
    world.end().await;
}

fn on_one_blocking_thread(test: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn a_large_message_is_decompressed_off_the_threads_that_decide() {
    on_one_blocking_thread(waits_for_a_thread(1_000));
}

#[test]
fn a_large_answer_is_compressed_off_the_threads_that_decide() {
    // Its request is small enough to be decompressed where it arrives; its answer, with a permit each, is not.
    const REQUESTS: usize = 200;
    assert!(batch(REQUESTS).encoded_len() < 16 << 10);
    on_one_blocking_thread(waits_for_a_thread(REQUESTS));
}
