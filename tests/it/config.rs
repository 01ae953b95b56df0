//! The configuration, from real files: what is read, what is refused and how it is told, what wins over what.

mod check;
mod documents;
mod errors;
mod notify;
mod random;
mod standard_variables;
mod watch;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use breaker::{Field, Origin, Value};
use breakerd::catalog::Catalog;
use breakerd::config::{self, Config, LogFormat, SETTINGS, Sources};
use tempfile::TempDir;

/// The file's form in DESIGN, word for word.
const SEED: &str = "\
[circuit_breaker]
enabled = true
default_failure_threshold = 5
default_success_threshold = 2
default_timeout_seconds = 60

[circuit_breaker.sentinel]
failure_threshold = 3
timeout_seconds = 120
";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    config::parse(text, Path::new("breakerd.toml"), &Sources::none())
        .map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn errors(text: &str) -> Vec<String> {
    parse(text).expect_err("the file is wrong")
}

fn set_by(line: &str, field: Field) -> Value {
    let config = parse(&format!("[circuit_breaker.sentinel]\n{line}\n")).expect(line);
    config.declaration.services["sentinel"].get(field).expect("it is set").clone()
}

fn catalog(config: &Config) -> Catalog {
    Catalog::new(&config.declaration, 0, &BTreeMap::new()).expect("what was loaded merges")
}

#[test]
fn the_seed_form_is_taken_word_for_word() {
    let config = parse(SEED).unwrap();
    assert!(config.declaration.enabled);
    assert_eq!(config.declaration.generation, None);
    let catalog = catalog(&config);
    let sentinel = catalog.thresholds("sentinel");
    assert_eq!((sentinel.failure_threshold(), sentinel.success_threshold()), (3, 2));
    assert_eq!(sentinel.wait(), Duration::from_mins(2));
    let other = catalog.thresholds("database");
    assert_eq!((other.failure_threshold(), other.success_threshold()), (5, 2));
    assert_eq!(other.wait(), Duration::from_mins(1));
    assert_eq!(catalog.origins("sentinel")[&Field::SuccessThreshold], Origin::FileDefaults);
}

#[test]
fn an_empty_file_is_what_is_built_in() {
    let config = parse("").unwrap();
    assert!(config.declaration.enabled, "to say nothing is to want breakers");
    assert_eq!(config.settings, config::Settings::default());
    assert_eq!(config.settings.grpc_listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.settings.http_listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.settings.metrics_namespace, "llm_incident_manager");
    assert_eq!(config.settings.breakers_max, 100_000);
    assert_eq!(config.settings.grpc_message_size_max, 1 << 20);
    assert_eq!(config.settings.idle_breaker_ttl, Duration::from_hours(1));
    assert_eq!(config.settings.journal_bytes_max, 1 << 30);
    assert_eq!(config.settings.log_format, LogFormat::Auto);
    assert_eq!(config.settings.store_url, None);
}

#[test]
fn enabled_and_generation_are_read() {
    let config = parse("[circuit_breaker]\nenabled = false\ngeneration = 2026_01_31\n").unwrap();
    assert!(!config.declaration.enabled);
    assert_eq!(config.declaration.generation, Some(20_260_131));
    assert_eq!(
        errors("[circuit_breaker]\nenabled = \"false\"\ngeneration = -1\n"),
        [
            "breakerd.toml:2:11: circuit_breaker.enabled: invalid value \"false\": must be true or false \
             (write it without quotes)",
            "breakerd.toml:3:14: circuit_breaker.generation: invalid value -1: must be 0..=9223372036854775807",
        ]
    );
}

#[test]
fn every_field_can_be_set_with_and_without_its_prefix_and_under_its_aliases() {
    for field in Field::ALL {
        let text = match field.kind() {
            breaker::Kind::Count { min, .. } => min.max(1).to_string(),
            breaker::Kind::Rate => "12.5".to_owned(),
            breaker::Kind::Factor { .. } if *field == Field::Multiplier => "1.25".to_owned(),
            breaker::Kind::Factor { .. } => "0.25".to_owned(),
            breaker::Kind::Duration { .. } => "\"1min\"".to_owned(),
            breaker::Kind::Flag => "false".to_owned(),
            breaker::Kind::Word(words) => format!("\"{}\"", words[1]),
            breaker::Kind::Classes => "[\"Timeout\"]".to_owned(),
        };
        // What these two need beside them.
        let beside =
            if *field == Field::SlowCallRateThreshold { "slow_call_duration_threshold = 1\n" } else { "" };
        let mut layers = Vec::new();
        for name in std::iter::once(field.as_str()).chain(field.aliases().iter().copied()) {
            for prefix in ["", "default_"] {
                let config = parse(&format!("[circuit_breaker]\n{beside}{prefix}{name} = {text}\n")).unwrap();
                layers.push(config.declaration.defaults);
            }
            let config = parse(&format!("[circuit_breaker.a]\n{beside}{name} = {text}\n")).unwrap();
            layers.push(config.declaration.services["a"].clone());
        }
        assert!(layers.iter().all(|layer| layer.get(*field).is_some()), "{field}");
        assert!(layers.windows(2).all(|pair| pair[0] == pair[1]), "{field}");
    }
}

#[test]
fn times_and_decimals_are_exact() {
    let wait = |text: &str| set_by(&format!("timeout_seconds = {text}"), Field::Timeout);
    let milliseconds = |count| Value::Duration(Duration::from_millis(count));
    assert_eq!(wait("0.001"), milliseconds(1));
    assert_eq!(wait("1.5"), milliseconds(1_500));
    assert_eq!(wait("1.500000"), milliseconds(1_500));
    assert_eq!(wait("60.0"), milliseconds(60_000));
    assert_eq!(wait("0x3c"), milliseconds(60_000));
    assert_eq!(wait("1_000"), milliseconds(1_000_000));
    assert_eq!(wait("\"250ms\""), milliseconds(250));
    assert_eq!(wait("\"2min\""), milliseconds(120_000));
    assert_eq!(wait("\"1min 30s\""), milliseconds(90_000));
    assert_eq!(wait("\"24h\""), milliseconds(86_400_000));
    let rate = |text: &str| set_by(&format!("failure_rate_threshold = {text}"), Field::FailureRateThreshold);
    assert_eq!(rate("100"), Value::Rate(100_000));
    assert_eq!(rate("33.333"), Value::Rate(33_333));
    assert_eq!(rate("0.001"), Value::Rate(1));
    assert_eq!(set_by("multiplier = 1.001", Field::Multiplier), Value::Factor(1_001));
}

#[test]
fn a_flag_wins_over_a_variable_over_the_file_over_what_is_built_in() {
    let path = Path::new("breakerd.toml");
    let variables = || {
        Sources::none().with_variables([
            ("BREAKERD_GRPC_LISTEN", "127.0.0.1:2"),
            ("BREAKERD_DATA_DIR", "from-variable"),
            ("X", "y"),
        ])
    };
    let text = "data_dir = \"from-file\"\nreplica = \"r1\"\n[grpc]\nlisten = \"127.0.0.1:1\"\n";
    let config = config::parse(text, path, &variables().with_flag("grpc-listen", "127.0.0.1:3")).unwrap();
    assert_eq!(config.settings.grpc_listen.port(), 3);
    assert_eq!(config.settings.data_dir, PathBuf::from("from-variable"));
    assert_eq!(config.settings.replica, "r1");
    assert_eq!(config.settings.http_listen.port(), 8080);

    let wrong = Sources::none()
        .with_variables([
            ("BREAKERD_LIMITS_BREAKERS_MAX", "many"),
            ("DATABASE_URL", "mysql://root:secret@db/x"),
        ])
        .with_flag("log-format", "xml");
    let errors: Vec<_> = config::parse("[grpc]\nlisten = 5\n", path, &wrong)
        .unwrap_err()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [
            "breakerd.toml:2:10: grpc.listen: invalid value 5: must be an address and a port, such as \
             127.0.0.1:50051 or \
             [::]:50051 (write it in quotes)",
            "BREAKERD_LIMITS_BREAKERS_MAX: invalid value \"many\": must be 1..=10000000",
            "DATABASE_URL: invalid value \"mysql://db/x\": must be a URL postgres://user:password@host/database, or \
             with several \
             hosts host:port,host:port (unknown scheme mysql: must be postgres or postgresql)",
            "--log-format: invalid value \"xml\": must be auto or text or json",
        ]
    );
}

#[test]
fn an_empty_variable_is_not_set_and_a_misspelt_one_is_told() {
    let sources = Sources::none().with_variables([
        ("DATABASE_URL", ""),
        ("BREAKERD_GRPC_LISTN", "127.0.0.1:1"),
        ("BREAKERD_SERVICE_HOST", "10.0.0.1"),
        ("BREAKERD_PORT_50051_TCP", "tcp://10.0.0.1:50051"),
        ("BREAKERD_SHUTDOWN_GRACE", "2.5"),
        // Of the commands that ask, in the same container.
        ("BREAKERD_ADDRESS", "https://breakerd:50051"),
        ("BREAKERD_TOKEN", "secret"),
        ("BREAKERD_CA", "/etc/breakerd/ca.crt"),
        ("BREAKERD_CERT", "/etc/breakerd/client.crt"),
        ("BREAKERD_KEY", "/etc/breakerd/client.key"),
    ]);
    let config = config::parse("", Path::new("breakerd.toml"), &sources).unwrap();
    assert_eq!(config.settings.store_url, None);
    assert_eq!(config.settings.shutdown_grace, Duration::from_millis(2_500));
    assert_eq!(
        config.notes,
        ["the variable BREAKERD_GRPC_LISTN sets nothing: did you mean BREAKERD_GRPC_LISTEN?"]
    );
}

#[test]
fn settings_take_what_they_say() {
    let of = |text: &str| parse(text).map(|config| config.settings);
    assert_eq!(of("grpc.message_size_max = \"512KiB\"").unwrap().grpc_message_size_max, 512 << 10);
    assert_eq!(of("[grpc]\nmessage_size_max = 1_048_576").unwrap().grpc_message_size_max, 1 << 20);
    assert_eq!(of("grpc = { streams_max = 7 }").unwrap().grpc_streams_max, 7);
    assert_eq!(of("\u{feff}replica = \"a.b\"").unwrap().replica, "a.b");
    assert_eq!(
        of("[log]\r\nlevel = \"warn,breakerd::grpc=trace\"\r\n").unwrap().log_level,
        "warn,breakerd::grpc=trace"
    );
    assert_eq!(of("[log]\nformat = \"json\"").unwrap().log_format, LogFormat::Json);
    for wrong in [
        "grpc.message_size_max = \"1KiB\"",
        "grpc.message_size_max = \"4MB\"",
        "grpc.message_size_max = \"99999999999999999999MiB\"",
        "grpc.message_size_max = 1048576.0",
        "grpc.in_flight_max = 0",
        "shutdown_grace = 0",
        "limits.idle_breaker_ttl = \"31days\"",
        "metrics.namespace = \"9lives\"",
        "metrics.namespace = \"a:b\"",
        "metrics.namespace = \"\"",
        "replica = \"a b\"",
        "replica = \"\"",
        "data_dir = \"\"",
        "store.url = \"sqlite://x\"",
        "store.url = \"postgres://\"",
        "log.level = \"info,\"",
        "log.level = \"INFO\"",
        "log.format = \"JSON\"",
        "http.listen = \"[::1]\"",
        "journal.bytes_max = 1979-05-27T07:32:00Z",
        "grpc = 5",
        "[data_dir]",
        "[[grpc]]",
        "[grpc.tls]",
    ] {
        let error = of(wrong).expect_err(wrong);
        assert_eq!(error.len(), 1, "{error:?}");
    }
}

#[test]
fn every_setting_takes_its_default_from_its_variable_and_from_the_file() {
    for setting in SETTINGS {
        let (table, name) = setting.path();
        let expected = match table {
            "" => format!("BREAKERD_{}", name.to_uppercase()),
            "store" if name == "url" => "DATABASE_URL".to_owned(),
            _ => format!("BREAKERD_{}_{}", table.to_uppercase(), name.to_uppercase()),
        };
        assert_eq!(setting.variable, expected);
        let by_variable = Sources::none().with_variables([(setting.variable, setting.default)]);
        let config = config::parse("", Path::new("x"), &by_variable).expect(setting.key);
        assert_eq!(config.settings, config::Settings::default(), "{}", setting.key);
        if !setting.default.is_empty() {
            let is_number = setting.default.parse::<f64>().is_ok();
            let is_flag = matches!(setting.default, "true" | "false");
            let quote = if is_number || is_flag { "" } else { "\"" };
            let config = parse(&format!("{} = {quote}{}{quote}", setting.key, setting.default)).unwrap();
            assert_eq!(config.settings, config::Settings::default(), "{}", setting.key);
        }
    }
}

#[test]
fn a_password_shows_nowhere() {
    for url in [
        "postgres://u:hunter2@db/x",
        "postgres://db/x?password=hunter2",
        "postgres://u:hunter2@[::1]:5432,db:5433/x?sslmode=verify-full",
    ] {
        let config = parse(&format!("[store]\nurl = \"{url}\"\n")).unwrap();
        assert_eq!(config.settings.store_url.as_ref().unwrap().expose(), url);
        let sources = Sources::none().with_variables([("DATABASE_URL", url)]);
        let wrong = errors(&format!("[store]\nurl = \"{}\"\n", url.replace("postgres", "mysql"))).join("");
        for text in [format!("{config:?}"), format!("{sources:?}"), wrong] {
            assert!(!text.contains("hunter"), "{text}");
        }
    }
    let long = format!("postgres://u:{}@db/x?sslmod=verify-full", "hunter2".repeat(99));
    for (url, told) in [
        ("postgres://u:hunter2@db/x?sslmod=verify-full", "did you mean sslmode?"),
        ("postgres://u:hunter#2@db/x", "write %23"),
        ("postgres://u:hunter?2@db/x?a=b@hunter2", "write %3F"),
        ("postgres://u:hun/ter2@db/x", "write %2F"),
        ("postgres://u:hunter2", "must be a number from 1"),
        (&long, "did you mean sslmode?"),
    ] {
        let sources = Sources::none().with_variables([("DATABASE_URL", url)]);
        let by_variable = config::parse("", Path::new("x"), &sources).unwrap_err()[0].to_string();
        for text in [errors(&format!("[store]\nurl = \"{url}\"\n")).join(""), by_variable] {
            assert!(text.contains(told) && !text.contains("hun"), "{text}");
        }
    }
}

#[test]
fn a_database_is_named_in_one_place() {
    let config = parse("[store]\nurl_file = \"/run/secrets/url\"\n").unwrap();
    assert_eq!(config.settings.store_url_file, Some("/run/secrets/url".into()));
    let both = errors("[store]\nurl = \"postgres://db/x\"\nurl_file = \"url\"\n").join("");
    assert!(both.contains("store.url_file") && both.contains("leave one of them out"), "{both}");
}

#[test]
fn a_file_that_was_named_must_be_there_and_readable() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("none.toml");
    let text = |path: &Path| {
        config::load(&Sources::none().with_file(path))
            .unwrap_err()
            .iter()
            .map(ToString::to_string)
            .collect::<String>()
    };
    assert_eq!(text(&path), format!("{}: cannot be read: there is no such file", path.display()));
    let by_variable = Sources::none().with_variables([("BREAKERD_CONFIG", path.as_os_str())]);
    assert!(by_variable.file().is_named);
    assert!(config::load(&by_variable).is_err());
    assert!(text(folder.path()).contains("cannot be read: "));
    fs::write(&path, b"data_dir = \"\xff\"\n").unwrap();
    assert_eq!(text(&path), format!("{}:1:13: not TOML: this is not UTF-8", path.display()));
    assert!(!Sources::none().file().is_named);
}
