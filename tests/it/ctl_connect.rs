//! How the commands reach a breakerd, with which token and over TLS, and what they say when they do not.

use serde_json::Value;

use crate::certificates::{Authority, Dates};
use crate::ctl::{Desk, Said, bare, run};
use crate::process::{Process, ends};

#[tokio::test]
async fn nobody_there_is_told_with_what_to_do() {
    let gone = run(&["ls", "--address", "127.0.0.1:1"]).await;
    assert_eq!(gone.code, 1);
    assert!(gone.err.starts_with("breakerd: cannot connect to http://127.0.0.1:1: "), "{gone:?}");
    assert!(gone.err.contains("check that breakerd is running; see --address"), "{gone:?}");
    let gone = run(&["ls", "--address", "127.0.0.1:1", "--json"]).await;
    let told: Value = serde_json::from_str(&gone.err).unwrap();
    assert_eq!((gone.code, &told["reason"]), (1, &"UNREACHABLE".into()));
    // TLS where there is none.
    let desk = Desk::open().await;
    let tls = run(&["ls", "--address", &format!("https://{}", desk.address())]).await;
    assert_eq!(tls.code, 1, "{tls:?}");
    assert!(tls.err.contains("cannot connect to https://"), "{tls:?}");
}

#[tokio::test]
async fn one_that_gives_no_answer_is_not_waited_for_without_end() {
    // It takes connections, and says nothing.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let said = run(&["ls", "--address", &address, "--timeout", "300ms"]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("300ms"), "{said:?}");
}

#[tokio::test]
async fn the_token_comes_from_the_environment_or_a_file_and_is_never_shown() {
    let desk = Desk::open().await;
    let file = desk.file("token", "brk_a-token\n");
    let said = desk.ask(&["ls", "--token-file", file.to_str().unwrap()]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let missing = desk.ask(&["ls", "--token-file", "/nowhere/token"]).await;
    assert_eq!(missing.code, 2);
    assert!(missing.err.contains("read --token-file /nowhere/token: "), "{missing:?}");
    let empty = desk.file("empty", "\n");
    assert_eq!(desk.ask(&["ls", "--token-file", empty.to_str().unwrap()]).await.code, 2);
    let mut command = desk.command(&["ls"]);
    command.env("BREAKERD_TOKEN", "wr\u{7}ong");
    let said = Said::from(ends(command).await);
    assert_eq!(said.code, 2);
    assert!(!said.err.contains("ong"), "{said:?}");
}

#[tokio::test]
async fn over_tls_flags_or_variables_say_whom_to_trust_and_what_to_show() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let authority = Authority::new();
    let (server, client) = (authority.server(Dates::Good), authority.client("spiffe://cluster/ns/payments"));
    for (name, text) in [
        ("ca.crt", &authority.pem),
        ("tls.crt", &server.certificate),
        ("tls.key", &server.key),
        ("client.crt", &client.certificate),
        ("client.key", &client.key),
    ] {
        std::fs::write(path(name), text).unwrap();
    }
    let settings = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\nclient_ca = \"ca.crt\"\n[http]\ntls = false\nauth = false\n";
    std::fs::write(path("breakerd.toml"), settings).unwrap();
    let process = Process::ready(folder.path(), None).await;
    let address = process.grpc.replace("http://127.0.0.1", "localhost");

    let (ca, cert, key) = (path("ca.crt"), path("client.crt"), path("client.key"));
    let flags = ["healthcheck", "--address", &address, "--ca", &ca, "--cert", &cert, "--key", &key];
    assert_eq!(run(&flags).await.well(), "SERVING\n");
    let with = |variables: &[(&str, &str)]| {
        let mut command = bare(&["healthcheck"]);
        command.env("BREAKERD_ADDRESS", &address).envs(variables.iter().copied());
        async { Said::from(ends(command).await) }
    };
    let (ca, cert, key) = (("BREAKERD_CA", &*ca), ("BREAKERD_CERT", &*cert), ("BREAKERD_KEY", &*key));
    assert_eq!(with(&[ca, cert, key]).await.well(), "SERVING\n");
    assert_eq!(with(&[ca]).await.code, 1, "it shows no certificate");
    let half = with(&[ca, key]).await;
    assert!(half.code == 2 && half.err.contains("must be set together"), "{half:?}");
}
