//! `breakerd check-config`, the function and the program.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use breaker::Field;
use breakerd::cli::{Show, check_config};
use breakerd::config;
use tempfile::TempDir;

use super::{SEED, parse};

fn check(path: &Path, show: Show) -> (ExitCode, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = check_config(path, show, &mut out, &mut err);
    (code, String::from_utf8(out).expect("text"), String::from_utf8(err).expect("text"))
}

#[test]
fn check_config_says_what_a_right_file_comes_to() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, SEED).unwrap();
    let (code, out, err) = check(&path, Show::Table);
    assert_eq!((code, &*err), (ExitCode::SUCCESS, ""));
    assert_eq!(
        out,
        format!(
            "{} is valid\n\nsentinel    failure_threshold 3, timeout_seconds 2m\nall others  built-in defaults\n",
            path.display()
        )
    );
    let (code, out, _) = check(&path, Show::Json);
    assert_eq!(code, ExitCode::SUCCESS);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let sentinel = &json["services"]["sentinel"];
    assert_eq!(sentinel["timeout_seconds"], serde_json::json!({"value": 120, "from": "file, service"}));
    assert_eq!(sentinel["success_threshold"], serde_json::json!({"value": 2, "from": "file defaults"}));
    assert_eq!(sentinel["multiplier"], serde_json::json!({"value": 2, "from": "built-in"}));
    assert_eq!(sentinel["failure_rate_threshold"]["value"], serde_json::Value::Null);
    assert_eq!(sentinel.as_object().unwrap().len(), Field::ALL.len());
    assert_eq!(json["enabled"], true);
}

#[test]
fn check_config_warns_of_what_is_right_and_hardly_meant() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    let text = "[circuit_breaker.a]\nfailure_threshold = 0\n\n\
                [circuit_breaker.b]\nfailure_rate_threshold = 50\nsliding_window_size = 50\n\
                minimum_number_of_calls = 500\n";
    fs::write(&path, text).unwrap();
    let (code, out, err) = check(&path, Show::Table);
    assert_eq!(code, ExitCode::SUCCESS);
    assert!(out.contains("minimum_number_of_calls 50"), "what it comes to: {out}");
    let warnings: Vec<_> = err.lines().collect();
    assert_eq!(warnings.len(), 2, "{err}");
    let of = |service: &str| format!("warning: {}: {service}: ", path.display());
    assert!(warnings[0].starts_with(&format!("{}no trip is set", of("a"))), "{err}");
    assert!(warnings[1].starts_with(&format!("{}minimum_number_of_calls: 500", of("b"))), "{err}");
    let (_, out, _) = check(&path, Show::Json);
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["warnings"].as_array().unwrap().len(), 2);
}

#[test]
fn check_config_prints_the_errors_of_a_wrong_file_and_fails() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, "[circuit_breaker]\nmax_wait = -1\nmultiplier = 11\n").unwrap();
    let (code, out, err) = check(&path, Show::Table);
    assert_eq!((code, &*out), (ExitCode::from(1), ""));
    assert_eq!(err.lines().count(), 2);
    assert!(err.starts_with(&format!(
        "{}:2:12: circuit_breaker.max_wait: invalid value -1: must be ",
        path.display()
    )));
}

fn webhook(text: &str) -> String {
    format!("[[notify]]\nname = \"chat\"\n{text}")
}

#[test]
fn check_config_refuses_the_files_that_serve_would() {
    let folder = TempDir::new().unwrap();
    let (path, other) = (folder.path().join("breakerd.toml"), folder.path().join("other"));
    let missing = folder.path().join("nowhere");
    fs::write(&other, "[[token]]\nname = \"a b\"\n").unwrap();
    for (text, problem) in [
        (format!("[auth]\ntokens_file = {missing:?}\n"), "auth.tokens_file: "),
        (format!("[auth]\ntokens_file = {other:?}\n"), "invalid auth.tokens_file"),
        (format!("[tls]\ncertificate = {missing:?}\nkey = {missing:?}\n"), "tls.certificate: "),
        (format!("[tls]\ncertificate = {other:?}\nkey = {other:?}\n"), "tls.certificate: "),
        (format!("[store]\nurl_file = {missing:?}\n"), "store.url_file"),
        (format!("[store]\nurl_file = {other:?}\n"), "no scheme"),
        (webhook(&format!("url_file = {missing:?}\n")), "notify chat: url_file: "),
        (webhook(&format!("url_file = {other:?}\n")), "notify chat: url_file: must hold a URL"),
        (webhook(&format!("url = \"http://a\"\nsecret_file = {other:?}\n")), "notify chat: secret_file: "),
        (
            webhook(&format!("url = \"https://a\"\nca_file = {other:?}\n")),
            "notify chat: ca_file: holds no certificate",
        ),
        (
            webhook(&format!("url = \"http://a\"\nca_file = {other:?}\n")),
            "notify chat: ca_file: needs a URL https://...",
        ),
        (format!("data_dir = {other:?}\n"), "change data_dir (BREAKERD_DATA_DIR, --data-dir)"),
    ] {
        fs::write(&path, &text).unwrap();
        let (code, out, err) = check(&path, Show::Table);
        assert_eq!((code, &*out), (ExitCode::from(1), ""), "{text}{err}");
        assert!(err.starts_with(&format!("{}: ", path.display())) && err.contains(problem), "{text}{err}");
    }
    fs::write(&path, format!("data_dir = {missing:?}\n")).unwrap();
    assert_eq!(check(&path, Show::Table).0, ExitCode::SUCCESS, "a folder that is not there yet is made");
    assert!(!missing.exists(), "but not by a check");
}

/// There is no runtime in the program that checks, as there is in `serve`.
#[test]
fn check_config_takes_a_collector_of_each_protocol() {
    let folder = TempDir::new().unwrap();
    let (path, ca) = (folder.path().join("breakerd.toml"), folder.path().join("ca.crt"));
    let authority = rcgen::generate_simple_self_signed(vec!["collector".to_owned()]).unwrap();
    fs::write(&ca, authority.cert.pem()).unwrap();
    for protocol in ["grpc", "http/protobuf"] {
        for endpoint in [
            "endpoint = \"http://collector:4317\"".to_owned(),
            format!("endpoint = \"https://collector\"\nca = {ca:?}"),
        ] {
            fs::write(&path, format!("[tracing]\nprotocol = \"{protocol}\"\n{endpoint}\n")).unwrap();
            let (code, out, err) = check(&path, Show::Table);
            assert_eq!((code, &*err), (ExitCode::SUCCESS, ""), "{protocol} {endpoint}: {out}");
        }
    }
}

#[test]
fn check_config_names_a_path_that_grpc_does_not_have() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    fs::write(&path, "[tracing]\nendpoint = \"http://collector:4317/v1/traces\"\n").unwrap();
    let (code, _, err) = check(&path, Show::Table);
    assert_ne!(code, ExitCode::SUCCESS);
    assert!(err.contains("tracing.endpoint: http://collector:4317/v1/traces has a path"), "{err}");
}

#[test]
fn check_config_names_every_fault_at_once() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("breakerd.toml");
    let missing = |name: &str| folder.path().join(name);
    let text = format!(
        "bogus = 1\n[grpc]\nlisten = \"nope\"\n[http]\nlisten = \"127.0.0.1:1\"\n[store]\nurl = \"postgres://a@b/c\"\n\
         url_file = {:?}\n[auth]\ntokens_file = {:?}\n[tls]\ncertificate = {:?}\nclient_ca = {:?}\n\
         [circuit_breaker.a]\nmultiplier = 0.5\nslow_call_rate_threshold = 50\n\
         [circuit_breaker.b]\nslow_call_rate_threshold = 50\nmax_wait = 1\n",
        missing("url"),
        missing("tokens"),
        missing("certificate"),
        missing("ca")
    );
    fs::write(&path, text).unwrap();
    let (code, out, err) = check(&path, Show::Table);
    assert_eq!((code, &*out), (ExitCode::from(1), ""));
    let told = [
        "unknown key `bogus`",
        "grpc.listen: invalid value \"nope\": must be an address",
        "circuit_breaker.a.multiplier: invalid value 0.5: must be greater than 1",
        "circuit_breaker.a: slow_call_rate_threshold: must be set together with slow_call_duration_threshold",
        "circuit_breaker.b: slow_call_rate_threshold: must be set together with slow_call_duration_threshold",
        "circuit_breaker.b: max_wait: invalid value 1s: must be at least timeout_seconds (1m)",
        "store.url_file: store.url is set too",
        "tls.certificate: needs tls.key, which is not set",
        "tls.certificate: ",
        "tls.client_ca: ",
        "auth.tokens_file: ",
        "url_file",
    ];
    for told in told {
        assert!(err.contains(told), "{told} is not in\n{err}");
    }
    assert_eq!(err.lines().count(), told.len(), "{err}");
}

#[test]
fn the_shipped_file_is_right() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("breakerd.toml");
    let (code, out, err) = check(&path, Show::Table);
    assert_eq!((code, &*err), (ExitCode::SUCCESS, ""));
    for service in ["sentinel", "database", "notifications"] {
        assert!(out.contains(service), "{out}");
    }
    let text = fs::read_to_string(path).unwrap();
    for line in SEED.lines() {
        assert!(text.contains(line), "the shipped file begins as the seed: {line}");
    }
    assert_eq!(
        parse(&text).unwrap().settings,
        config::Settings::default(),
        "it shows defaults, and changes none"
    );
}

#[test]
fn the_program_checks_a_file() {
    let run = |arguments: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_breakerd")).args(arguments).output().unwrap()
    };
    let folder = TempDir::new().unwrap();
    let right = folder.path().join("right.toml");
    fs::write(&right, SEED).unwrap();
    let output = run(&["check-config", right.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8(output.stdout).unwrap().contains("right.toml is valid"));

    let wrong = folder.path().join("wrong.toml");
    fs::write(&wrong, "[circuit_breaker]\nenabled = 1\n").unwrap();
    let output = run(&["check-config", wrong.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("wrong.toml:2:11: circuit_breaker.enabled: invalid value 1")
    );

    assert_eq!(run(&["check-config"]).status.code(), Some(2));
    assert_eq!(run(&[]).status.code(), Some(2));
    assert_eq!(run(&["--version"]).status.code(), Some(0));
}
