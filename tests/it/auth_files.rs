//! The files of tokens and certificates under a running process, and what it says of them.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use breakerd::auth::{Digest, Token};
use breakerd::config::access;
use breakerd_api::v1;
use tonic::Code;

use crate::certificates::{Authority, Dates, Pair, shown};
use crate::grpc_world::ask;
use crate::process::{Process, ends, eventually, log_of, program};
use crate::raw::Raw;

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";

fn rename_into(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

fn block(name: &str, token: &Token, role: &str) -> String {
    format!("[[token]]\nname = \"{name}\"\nsha256 = \"{}\"\nroles = [\"{role}\"]\n", token.digest())
}

fn bearer(token: &Token) -> Vec<u8> {
    format!("Bearer {}", token.expose()).into_bytes()
}

async fn raw(process: &Process) -> Raw {
    Raw::to(process.grpc.strip_prefix("http://").unwrap().parse().unwrap()).await
}

async fn code(raw: &mut Raw, token: &Token) -> Code {
    raw.call(ALLOW, &[&bearer(token)], &ask("payments", "")).await.code()
}

/// Everything that is wrong with such a file, a line each.
fn wrong(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokens.toml");
    fs::write(&path, text).unwrap();
    let errors = access::parse(&access::read(&path).unwrap(), Path::new("tokens.toml")).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn what_is_wrong_with_a_file_of_tokens_is_told_at_once_and_no_secret_with_it() {
    let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text = format!(
        "[[token]]\nname = \"a b\"\nsha256 = \"bk_thisisatoken\"\nroles = [\"boss\"]\nservices = [\"a b\"]\n\
         [[token]]\nname = \"one\"\nsha256 = \"{digest}\"\nroles = [\"caller\"]\n\
         [[token]]\nname = \"two\"\nsha256 = \"{digest}\"\nrole = \"caller\"\nroles = [\"caller\"]\n\
         [[token]]\ntoken = \"bk_thisisatoken\"\n\
         [[certificate]]\nname = \"c\"\nsubject = \"\"\nroles = []\n\
         [[tokens]]\n"
    );
    let errors = wrong(&text);
    for (line, part) in [
        ("2:", "token.name: invalid value \"a b\""),
        ("3:", "token.sha256: invalid value (not shown)"),
        ("4:", "token.roles: invalid value [\"boss\"]: must be a list of caller, reader, operator, admin"),
        ("5:", "token.services: invalid value [\"a b\"]"),
        ("12:", "`sha256` of two stands in another [[token]] already"),
        ("13:", "unknown key `role`: did you mean `roles`?"),
        ("15:", "`name` is missing"),
        ("15:", "`roles` is missing"),
        ("15:", "`sha256` is missing"),
        ("16:", "unknown key `token`"),
        ("19:", "certificate.subject: invalid value \"\""),
        ("20:", "certificate.roles: invalid value []"),
        ("21:", "unknown key `tokens`: did you mean `[[token]]`?"),
    ] {
        let found = errors
            .iter()
            .any(|error| error.starts_with(&format!("tokens.toml:{line}")) && error.contains(part));
        assert!(found, "{line} {part}\n{}", errors.join("\n"));
    }
    assert!(!errors.join("\n").contains("bk_thisisatoken"), "{}", errors.join("\n"));
    for text in
        ["token = \"bk_thisisatoken\"", "token = [\"bk_thisisatoken\"]", "[token", "[[token]]\nname = 1"]
    {
        assert!(!wrong(text).join("\n").contains("bk_thisisatoken"));
    }
}

#[tokio::test]
async fn a_changed_file_of_tokens_is_taken_and_a_wrong_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.toml");
    let (first, second) = (Token::draw().unwrap(), Token::draw().unwrap());
    fs::write(&file, block("first", &first, "admin")).unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[auth]\ntokens_file = \"tokens.toml\"\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut raw = raw(&process).await;
    assert_eq!(
        (code(&mut raw, &first).await, code(&mut raw, &second).await),
        (Code::Ok, Code::Unauthenticated)
    );

    // Wrong: refused whole, and said with its line.
    rename_into(&file, &format!("{}roles = 5\n", block("second", &second, "caller")));
    let metric = |name: &str, value: u32| {
        let sample = format!("llm_incident_manager_breakerd_access_{name} {value}");
        let (url, header) = (format!("{}/metrics", process.http), bearer(&first));
        async move {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let page = client.get(url).header("authorization", header).send().await.unwrap();
            page.text().await.unwrap().contains(&sample)
        }
    };
    eventually("the wrong file is refused", || metric("last_reload_successful", 0)).await;
    assert!(metric("reload_errors_total", 1).await);
    let log = log_of(folder.path());
    assert!(log.contains("tokens.toml:5") && log.contains("keeping the previous version"), "{log}");
    assert_eq!(
        (code(&mut raw, &first).await, code(&mut raw, &second).await),
        (Code::Ok, Code::Unauthenticated)
    );

    // Right: both ways, on a connection that stands.
    rename_into(&file, &block("second", &second, "caller"));
    for _ in 0..1_000 {
        if code(&mut raw, &second).await == Code::Ok {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(
        (code(&mut raw, &first).await, code(&mut raw, &second).await),
        (Code::Unauthenticated, Code::Ok)
    );

    // Gone: what was last right stays.
    fs::remove_file(&file).unwrap();
    eventually("it is said", || async { log_of(folder.path()).contains("there is no such file") }).await;
    assert_eq!(code(&mut raw, &second).await, Code::Ok);
    drop(raw);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn no_secret_is_said_anywhere() {
    let folder = tempfile::tempdir().unwrap();
    let (good, wrong) = (Token::draw().unwrap(), Token::draw().unwrap());
    fs::write(folder.path().join("tokens.toml"), block("good", &good, "admin")).unwrap();
    fs::write(
        folder.path().join("breakerd.toml"),
        "[auth]\ntokens_file = \"tokens.toml\"\n[log]\nlevel = \"trace\"\n",
    )
    .unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut raw = raw(&process).await;
    let mut said = String::new();
    for token in [&good, &wrong] {
        let answer = raw.call(ALLOW, &[&bearer(token)], &ask("payments", "")).await;
        let details = String::from_utf8_lossy(answer.status.details());
        write!(said, "{:?}{details}", answer.status).unwrap();
        for path in ["/metrics", "/health", "/nothing"] {
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            let page = client.get(format!("{}{path}", process.http)).header("authorization", bearer(token));
            let page = page.send().await.unwrap();
            write!(said, "{:?}", page.headers()).unwrap();
            said.push_str(&page.text().await.unwrap());
        }
    }
    // Whole headers of nonsense too: what is not known is not said.
    let answer = raw.call(ALLOW, &[b"Bearer not-so-secret-text"], &ask("payments", "")).await;
    write!(said, "{:?}", answer.status).unwrap();
    drop(raw);
    assert!(process.stop().await.success());
    said.push_str(&log_of(folder.path()));
    assert!(said.contains("unauthenticated call rejected: unknown token or certificate"), "it was logged");
    for secret in [good.expose(), wrong.expose(), &good.digest().to_string(), "not-so-secret-text"] {
        assert!(!said.contains(secret), "{}", said.lines().find(|line| line.contains(secret)).unwrap());
    }
}

#[tokio::test]
async fn a_file_that_is_wrong_at_the_start_is_told_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let run = |settings: &str| {
        fs::write(folder.path().join("breakerd.toml"), settings).unwrap();
        ends(program(folder.path(), None))
    };
    let said = |output: Output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    fs::write(folder.path().join("tokens.toml"), "[[token]]\nname = \"a\"\n").unwrap();
    let text = said(run("[auth]\ntokens_file = \"tokens.toml\"\n").await);
    assert!(text.contains("tokens.toml:1:1: token: `roles` is missing"), "{text}");
    let text = said(run("[auth]\ntokens_file = \"none.toml\"\n").await);
    assert!(text.contains("auth.tokens_file: none.toml: cannot be read: there is no such file"), "{text}");
    let text = said(run("[tls]\ncertificate = \"a.pem\"\n").await);
    assert!(text.contains("tls.certificate: needs tls.key, which is not set"), "{text}");
    let text = said(run("[tls]\nclient_ca = \"a.pem\"\nclient_certificate = \"optional\"\n").await);
    assert!(text.contains("needs tls.certificate"), "{text}");
    assert!(text.contains("every client needs a certificate"), "{text}");
    fs::write(folder.path().join("a.pem"), "nothing").unwrap();
    let text = said(run("[tls]\ncertificate = \"a.pem\"\nkey = \"a.pem\"\n").await);
    assert!(text.contains("tls.certificate: holds no certificate in PEM"), "{text}");
}

#[tokio::test]
async fn a_changed_certificate_is_taken_and_a_wrong_pair_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let write = |pair: &Pair| {
        rename_into(&folder.path().join("tls.crt"), &pair.certificate);
        rename_into(&folder.path().join("tls.key"), &pair.key);
    };
    write(&authority.server(Dates::Good));
    let settings = "[tls]\ncertificate = \"tls.crt\"\nkey = \"tls.key\"\n[http]\ntls = false\n";
    fs::write(folder.path().join("breakerd.toml"), settings).unwrap();
    let process = Process::ready(folder.path(), None).await;
    let address = process.grpc.strip_prefix("http://").unwrap().parse().unwrap();
    let certificate = || async { shown(&authority.connect(address, None, b"h2").await.unwrap()) };
    let first = certificate().await;
    let mut raw = Raw::over(authority.connect(address, None, b"h2").await.unwrap()).await.unwrap();

    write(&Pair { certificate: authority.server(Dates::Good).certificate, ..authority.server(Dates::Good) });
    eventually("the wrong pair is refused", || async {
        process.page("/metrics").await.contains("breakerd_tls_last_reload_successful 0")
    })
    .await;
    assert_eq!(certificate().await, first);
    write(&authority.server(Dates::Good));
    eventually("the right one is taken", || async { certificate().await != first }).await;
    let answer = raw.call(ALLOW, &[], &ask("payments", "")).await;
    assert!(answer.read::<v1::AllowRequestResponse>().allowed, "on the old connection");
    let page = process.page("/metrics").await;
    assert!(page.contains("breakerd_tls_last_reload_successful 1"), "{page}");
    let expiry = "llm_incident_manager_breakerd_tls_certificate_expiry_timestamp_seconds ";
    let expiry = page.lines().find_map(|line| line.strip_prefix(expiry)).unwrap();
    assert!(expiry.parse::<f64>().unwrap() > 1.7e9, "{expiry}");
    drop(raw);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn what_others_can_reach_and_nothing_protects_is_called_out() {
    let folder = tempfile::tempdir().unwrap();
    let quiet = Process::ready(folder.path(), None).await;
    assert!(quiet.stop().await.success());
    assert!(!log_of(folder.path()).contains("on a non-loopback address"));
    let settings = breakerd::config::Settings { grpc_listen: ([0, 0, 0, 0], 0).into(), ..Default::default() };
    let metrics = breakerd::metrics::Metrics::default();
    let security = breakerd::security::Security::build(&settings, &metrics, breaker::Time::ZERO).unwrap();
    let said =
        crate::support::logged(|| security.warn_if_exposed(settings.grpc_listen, settings.http_listen));
    assert_eq!(said.matches("on a non-loopback address").count(), 2, "{said}");
    assert!(
        said.contains("gRPC authentication is disabled on a non-loopback address")
            && said.contains("auth.tokens_file"),
        "{said}"
    );
    assert!(
        said.contains("gRPC TLS is disabled on a non-loopback address")
            && said.contains("tls.certificate and tls.key"),
        "{said}"
    );
    assert!(!said.contains("HTTP"), "{said}");
}

#[tokio::test]
async fn a_token_is_made_and_works() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_breakerd"));
        command.env_clear().current_dir(folder.path()).args(["token", "new"]).args(arguments);
        ends(command)
    };
    let output =
        run(&["--name", "ci", "--role", "caller", "--service", "pay*", "--append", "tokens.toml"]).await;
    assert!(output.status.success(), "{output:?}");
    let token = String::from_utf8(output.stdout).unwrap();
    let header = format!("Bearer {}", token.trim()).into_bytes();
    for wrong in
        [&["--name", "ci"][..], &["--name", "a b", "--role", "caller"], &["--name", "ci", "--role", "x"]]
    {
        assert_eq!(run(wrong).await.status.code(), Some(2));
    }
    fs::write(folder.path().join("breakerd.toml"), "[auth]\ntokens_file = \"tokens.toml\"\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let mut raw = raw(&process).await;
    assert_eq!(raw.call(ALLOW, &[&header], &ask("payments", "")).await.code(), Code::Ok);
    assert_eq!(raw.call(ALLOW, &[&header], &ask("sentinel", "")).await.code(), Code::PermissionDenied);
    let text = fs::read_to_string(folder.path().join("tokens.toml")).unwrap();
    assert!(text.contains(&Digest::of(token.trim().as_bytes()).to_string()) && !text.contains(token.trim()));
    drop(raw);
    assert!(process.stop().await.success());
}
