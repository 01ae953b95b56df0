//! What is refused, and how it is told: the exact texts, since people read them.

use std::fmt::Write as _;
use std::fs;

use breakerd::config::{self, Sources};
use tempfile::TempDir;

use super::{catalog, errors, parse};

/// The one error of a file with `line` in `[circuit_breaker.sentinel]`.
fn error_of(line: &str) -> String {
    let errors = errors(&format!("[circuit_breaker.sentinel]\n{line}\n"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    errors[0].strip_prefix("breakerd.toml:2:").expect("it names file and line").to_owned()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn each_wrong_value_says_what_is_taken() {
    for (line, expected) in [
        (
            "failure_rate_threshold = 120",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value 120: must be greater than 0 and at \
             most 100 (percent, up to 3 decimals)",
        ),
        (
            "failure_rate_threshold = 33.3333",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value 33.3333: must be greater than 0 and \
             at most 100 (percent, up to 3 decimals) (it has more than 3 decimals)",
        ),
        (
            "failure_rate_threshold = 0",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value 0: must be greater than 0 and at \
             most 100 (percent, up to 3 decimals)",
        ),
        (
            "failure_rate_threshold = \"50\"",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value \"50\": must be greater than 0 and \
             at most 100 (percent, up to 3 decimals) (write it without quotes)",
        ),
        (
            "failure_rate_threshold = 5e1",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value 5e1: must be greater than 0 and at \
             most 100 (percent, up to 3 decimals) (write it without an exponent)",
        ),
        (
            "failure_rate_threshold = nan",
            "26: circuit_breaker.sentinel.failure_rate_threshold: invalid value nan: must be greater than 0 and at \
             most 100 (percent, up to 3 decimals)",
        ),
        (
            "failure_threshold = 60.0",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value 60.0: must be 0..=1000000 (a whole \
             number, written \
             without a decimal point)",
        ),
        (
            "failure_threshold = \"3\"",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value \"3\": must be 0..=1000000 (write it \
             without quotes)",
        ),
        (
            "failure_threshold = -3",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value -3: must be 0..=1000000",
        ),
        (
            "failure_threshold = 99999999999999999999999999",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value 99999999999999999999999999: must be \
             0..=1000000",
        ),
        (
            "failure_threshold = 1979-05-27",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value 1979-05-27: must be 0..=1000000",
        ),
        (
            "failure_threshold = true",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value true: must be 0..=1000000",
        ),
        (
            "failure_threshold = { value = 3 }",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value a table: must be 0..=1000000",
        ),
        (
            "failure_threshold = [3]",
            "21: circuit_breaker.sentinel.failure_threshold: invalid value [3]: must be 0..=1000000",
        ),
        (
            "timeout_seconds = 0",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value 0: must be 1ms..=24h",
        ),
        (
            "timeout_seconds = 0.0005",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value 0.0005: must be 1ms..=24h (no finer than a \
             millisecond)",
        ),
        (
            "timeout_seconds = \"1500us\"",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value \"1500us\": must be 1ms..=24h (no finer \
             than a \
             millisecond)",
        ),
        (
            "timeout_seconds = -1",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value -1: must be 1ms..=24h",
        ),
        (
            "timeout_seconds = -0.5",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value -0.5: must be 1ms..=24h",
        ),
        (
            "timeout_seconds = inf",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value inf: must be 1ms..=24h",
        ),
        (
            "timeout_seconds = \"60\"",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value \"60\": must be 1ms..=24h (write it without \
             quotes, \
             or give it a unit)",
        ),
        (
            "timeout_seconds = \"soon\"",
            "19: circuit_breaker.sentinel.timeout_seconds: invalid value \"soon\": must be 1ms..=24h (seconds as a \
             number, or \
             a text such as \"250ms\" or \"2m\")",
        ),
        (
            "wait_duration_in_open_state = \"2d\"",
            "31: circuit_breaker.sentinel.wait_duration_in_open_state: invalid value \"2d\": must be 1ms..=24h",
        ),
        (
            "sliding_window_type = \"count_based\"",
            "23: circuit_breaker.sentinel.sliding_window_type: invalid value \"count_based\": must be COUNT_BASED or \
             TIME_BASED (did you mean COUNT_BASED?)",
        ),
        (
            "sliding_window_type = 1",
            "23: circuit_breaker.sentinel.sliding_window_type: invalid value 1: must be COUNT_BASED or TIME_BASED \
             (write it \
             in quotes)",
        ),
        (
            "honor_retry_after = 1",
            "21: circuit_breaker.sentinel.honor_retry_after: invalid value 1: must be true or false",
        ),
        (
            "ignore_error_classes = \"NotFound\"",
            "24: circuit_breaker.sentinel.ignore_error_classes: invalid value \"NotFound\": must be at most 64 \
             classes, each \
             of 1 to 128 bytes, no control characters (a list of texts, such as [\"Timeout\", \"Refused\"])",
        ),
        (
            "ignore_error_classes = [\"\"]",
            "24: circuit_breaker.sentinel.ignore_error_classes: invalid value [\"\"]: must be at most 64 classes, \
             each of 1 \
             to 128 bytes, no control characters",
        ),
        (
            "multiplier = 1",
            "14: circuit_breaker.sentinel.multiplier: invalid value 1: must be greater than 1 and at most 10 (up to \
             3 decimals)",
        ),
    ] {
        assert_eq!(error_of(line), expected);
    }
}

#[test]
fn unknown_keys_are_refused_and_the_nearest_name_is_offered() {
    for (text, expected) in [
        (
            "[circuit_breaker.a]\nfailure_treshold = 3",
            "2:1: circuit_breaker.a: unknown key `failure_treshold`: did you mean `failure_threshold`?",
        ),
        (
            "[circuit_breaker]\ndefault_failure_treshold = 3",
            "2:1: circuit_breaker: unknown key `default_failure_treshold`: did you mean `default_failure_threshold`?",
        ),
        (
            "[circuit_breaker.a]\ndefault_failure_threshold = 3",
            "2:1: circuit_breaker.a: unknown key `default_failure_threshold`: did you mean `failure_threshold`?",
        ),
        (
            "[circuit_breaker.a]\nenabled = false",
            "2:1: circuit_breaker.a: unknown key `enabled`: it belongs in [circuit_breaker] only",
        ),
        (
            "[circuit_breaker]\nsentinel = 3",
            "2:1: circuit_breaker: unknown key `sentinel`: it is no setting, and a service is a table, \
             [circuit_breaker.sentinel]",
        ),
        (
            "[circuit_breaker.api.example]\nfailure_threshold = 3",
            "1:22: circuit_breaker.api: unknown key `example`: if api.example is one service, its name stands in \
             quotes: [circuit_breaker.\"api.example\"]",
        ),
        ("[circuit_breaker.a]\nsomething_else = 1", "2:1: circuit_breaker.a: unknown key `something_else`"),
        ("[circuit_braker]\n", "1:2: unknown key `circuit_braker`: did you mean `circuit_breaker`?"),
        ("[grcp]\nlisten = 1", "1:2: unknown key `grcp`: did you mean `grpc`?"),
        ("[grpc]\nlisen = 1", "2:1: grpc: unknown key `lisen`: did you mean `listen`?"),
        (
            "[grpc]\nbreakers_max = 1",
            "2:1: grpc: unknown key `breakers_max`: did you mean `breakers_max` in [limits]?",
        ),
        ("failure_threshold = 1", "1:1: unknown key `failure_threshold`: it belongs in [circuit_breaker]"),
        ("datadir = \"x\"", "1:1: unknown key `datadir`: did you mean `data_dir`?"),
    ] {
        assert_eq!(errors(text), [format!("breakerd.toml:{expected}")], "{text}");
    }
}

#[test]
fn two_names_of_one_field_are_refused() {
    assert_eq!(
        errors("[circuit_breaker]\ndefault_timeout_seconds = 3\ntimeout_seconds = 4\n"),
        [
            "breakerd.toml:3:1: circuit_breaker: `timeout_seconds` is another name of `default_timeout_seconds`, \
             which line 2 sets already"
        ]
    );
    assert_eq!(
        errors("[circuit_breaker.a]\nwait_duration_in_open_state = 3\ntimeout_seconds = 3\n"),
        ["breakerd.toml:3:1: circuit_breaker.a: `timeout_seconds` is another name of \
             `wait_duration_in_open_state`, which line 2 sets already"]
    );
}

#[test]
fn services_are_checked_by_name_and_may_stand_in_quotes() {
    let config = parse("[circuit_breaker.\"api.example.org:443\"]\nfailure_threshold = 1\n").unwrap();
    assert_eq!(catalog(&config).thresholds("api.example.org:443").failure_threshold(), 1);
    assert_eq!(
        errors("[circuit_breaker.\"a b\"]\n[circuit_breaker.\"\"]\n"),
        [
            "breakerd.toml:1:18: circuit_breaker: service: invalid character ' ' at byte 1: allowed are letters, \
             digits and . _ : -",
            "breakerd.toml:2:18: circuit_breaker: service: must not be empty (1 to 128 characters)",
        ]
    );
}

#[test]
fn all_that_is_wrong_is_told_at_once_in_the_order_of_the_file() {
    let text = "\
data_dir = 3
[circuit_breaker]
default_failure_treshold = 5
[circuit_breaker.sentinel]
failure_rate_threshold = 120
multiplier = 0.5
[grpc]
listen = \"localhost\"
[log]
level = \"inof\"
";
    assert_eq!(
        errors(text),
        [
            "breakerd.toml:1:12: data_dir: invalid value 3: must be the path of a folder (write it in quotes)",
            "breakerd.toml:3:1: circuit_breaker: unknown key `default_failure_treshold`: did you mean \
             `default_failure_threshold`?",
            "breakerd.toml:5:26: circuit_breaker.sentinel.failure_rate_threshold: invalid value 120: must be greater \
             than 0 and at most 100 (percent, up to 3 decimals)",
            "breakerd.toml:6:14: circuit_breaker.sentinel.multiplier: invalid value 0.5: must be greater than 1 and \
             at most 10 (up to 3 decimals)",
            "breakerd.toml:8:10: grpc.listen: invalid value \"localhost\": must be an address and a port, such as \
             127.0.0.1:50051 or [::]:50051",
            "breakerd.toml:10:9: log.level: invalid value \"inof\": must be off, error, warn, info, debug or trace; or \
             several, such as info,breakerd=debug",
        ]
    );
}

#[test]
fn contradictions_are_told_once_with_their_lines() {
    let text = "\
[circuit_breaker]
permitted_number_of_calls_in_half_open_state = 3
slow_call_rate_threshold = 10
max_wait = 30
[circuit_breaker.a]
success_threshold = 5
[circuit_breaker.b]
failure_threshold = 1
";
    assert_eq!(
        errors(text),
        [
            "breakerd.toml:3:1: circuit_breaker: slow_call_rate_threshold: must be set together with \
             slow_call_duration_threshold (slow_call_rate_threshold: line 3)",
            "breakerd.toml:4:1: circuit_breaker: max_wait: invalid value 30s: must be at least timeout_seconds (1m) \
             (max_wait: line 4; timeout_seconds: built-in)",
            "breakerd.toml:6:1: circuit_breaker.a: success_threshold: invalid value 5: must be at most \
             permitted_number_of_calls_in_half_open_state (3) (success_threshold: line 6; \
             permitted_number_of_calls_in_half_open_state: line 2)",
        ]
    );
    // What a refused value leaves open is no contradiction beside it.
    assert_eq!(
        errors("[circuit_breaker]\nslow_call_rate_threshold = 10\nslow_call_duration_threshold = -1\n").len(),
        1
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    assert_eq!(errors("[circuit_breaker]\nenabled = tru\n").len(), 1);
    let text = errors("[circuit_breaker]\nenabled = \n[grpc\n");
    assert_eq!(text.len(), 2, "{text:?}");
    assert!(text[0].starts_with("breakerd.toml:2:11: not TOML: "), "{text:?}");
    assert!(text[1].starts_with("breakerd.toml:3:6: not TOML: "), "{text:?}");
    let twice = errors("[circuit_breaker]\nmax_wait = 1\nmax_wait = 2\n");
    assert_eq!(twice, ["breakerd.toml:3:1: not TOML: duplicate key"]);
}

#[test]
fn settings_at_odds_are_refused() {
    assert_eq!(
        errors("[grpc]\nlisten = \"127.0.0.1:8080\"\n"),
        ["breakerd.toml:2:10: http.listen: 127.0.0.1:8080 is what grpc.listen has already"]
    );
    assert!(parse("[grpc]\nlisten = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n").is_ok());
    assert_eq!(
        errors("[circuit_breaker.a]\n[circuit_breaker.b]\n[limits]\nbreakers_max = 1\n"),
        ["breakerd.toml:4:16: limits.breakers_max: 1 is less than the 2 services of [circuit_breaker]"]
    );
}

/// They would be taken, and mean nothing.
#[test]
fn settings_of_replicas_are_refused_where_there_are_none() {
    for setting in [
        "listen_url = \"postgres://b@localhost/b\"",
        "start_without_store = true",
        "half_open_without_store = \"hold\"",
    ] {
        let (key, _) = setting.split_once(' ').unwrap();
        let said = errors(&format!("[store]\n{setting}\n"));
        assert_eq!(said.len(), 1, "{said:?}");
        let expected = format!("store.{key}: needs a database that is shared");
        assert!(said[0].contains(&expected), "{said:?}");
        let url = "url = \"postgres://b@localhost/b\"";
        assert!(parse(&format!("[store]\n{setting}\n{url}\n")).is_ok());
        assert_eq!(errors(&format!("[store]\n{setting}\n{url}\nshared = false\n")).len(), 1);
    }
}

#[test]
fn a_report_and_a_file_have_a_bound() {
    let mut text = String::from("[circuit_breaker]\n");
    for number in 0..1_000 {
        writeln!(text, "nonsense_{number} = 1").expect("a string takes all");
    }
    let errors = errors(&text);
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[100], "breakerd.toml: and 900 more");

    let mut services = String::new();
    for number in 0..=config::SERVICES_MAX {
        writeln!(services, "[circuit_breaker.s{number}]").expect("a string takes all");
    }
    let error = parse(&services).unwrap_err();
    assert_eq!(error, ["breakerd.toml:1:2: circuit_breaker: 10001 services are more than the most, 10000"]);

    let folder = TempDir::new().unwrap();
    let path = folder.path().join("large.toml");
    fs::write(&path, "#".repeat((1 << 20) + 1)).unwrap();
    let error = config::load(&Sources::none().with_file(&path)).unwrap_err();
    assert_eq!(error[0].to_string(), format!("{}: has more than 1048576 bytes", path.display()));
    fs::write(&path, "#".repeat(1 << 20)).unwrap();
    assert!(config::load(&Sources::none().with_file(&path)).is_ok());
}

/// Each of these is slow where the work is the square of the length.
#[test]
fn no_file_keeps_the_parser_busy() {
    let keys = |count: usize| (0..count).map(|number| format!("k{number}=1,")).collect::<Vec<_>>().concat();
    let services = |count: usize| {
        (0..count)
            .map(|number| format!("s{number}={{failure_threshold=1,max_wait=90}},"))
            .collect::<Vec<_>>()
            .concat()
    };
    let on_one_line = |inner: &str| format!("circuit_breaker={{{}}}", inner.trim_end_matches(','));
    assert_eq!(errors(&on_one_line(&keys(90_000))).len(), 101);
    assert_eq!(errors(&on_one_line(&services(10_001))).len(), 1);
    assert!(parse(&on_one_line(&services(10_000))).is_ok());
    for garbage in ["[", "=", "\"", "a.", "{", "\n[", "\na=", "\0", "\n\""] {
        assert!(!errors(&garbage.repeat((1 << 20) / garbage.len())).is_empty());
    }
}
