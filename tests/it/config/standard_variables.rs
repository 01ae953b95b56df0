//! The variables that programs with OpenTelemetry share.

use std::path::Path;
use std::time::Duration;

use breakerd::config::{self, Settings, Sources, TraceCompression, TraceProtocol};

fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    let sources = Sources::none().with_variables(variables.iter().copied());
    let config = config::parse(text, Path::new("breakerd.toml"), &sources);
    config.map(|config| config.settings).map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

fn settings(variables: &[(&str, &str)]) -> Settings {
    parse("", variables).unwrap_or_else(|errors| panic!("{variables:?}: {errors:?}"))
}

#[test]
fn they_set_what_the_specification_says() {
    let settings = settings(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/protobuf"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YQ==,x-tenant=a"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_SERVICE_NAME", "circuits"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=a%2Cb"),
        ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ("OTEL_TRACES_EXPORTER", "otlp"),
        ("OTEL_SDK_DISABLED", "false"),
    ]);
    assert_eq!(settings.tracing_endpoint.unwrap().http_path(), "/v1/traces");
    assert_eq!(settings.tracing_protocol, TraceProtocol::Http);
    assert_eq!(settings.tracing_compression, TraceCompression::Gzip);
    assert_eq!(settings.tracing_headers.map()["authorization"], "Basic YQ==");
    assert_eq!(settings.tracing_headers.map()["x-tenant"], "a");
    assert_eq!(settings.tracing_ca.unwrap(), Path::new("/etc/ca.pem"));
    assert_eq!(settings.tracing_timeout, Duration::from_millis(2_500));
    assert_eq!(settings.tracing_service_name.unwrap(), "circuits");
    assert_eq!(settings.tracing_resource_attributes.iter().next(), Some(("team", "a,b")));
    assert_eq!(settings.tracing_sample_ratio.per_million(), 250_000);
    assert!(settings.tracing_enabled);
}

#[test]
fn those_of_traces_win_over_those_of_all_signals_and_ours_over_both() {
    for (general, of_traces, ours, key) in [
        (
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:1"),
            ("BREAKERD_TRACING_ENDPOINT", "http://c:1"),
            "tracing.endpoint",
        ),
        (
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("BREAKERD_TRACING_PROTOCOL", "grpc"),
            "tracing.protocol",
        ),
        (
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "gzip"),
            ("BREAKERD_TRACING_COMPRESSION", "none"),
            "tracing.compression",
        ),
        (
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=1"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "b=2"),
            ("BREAKERD_TRACING_HEADERS", "c=3"),
            "tracing.headers",
        ),
        (
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "a"),
            ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", "b"),
            ("BREAKERD_TRACING_CA", "c"),
            "tracing.ca",
        ),
        (
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2000"),
            ("BREAKERD_TRACING_TIMEOUT", "3s"),
            "tracing.timeout",
        ),
    ] {
        // The endpoint is there for the CA, which ours alone needs it for.
        let endpoint = ("BREAKERD_TRACING_ENDPOINT", "https://c:1");
        let with = |variables: &[(&'static str, &'static str)]| {
            let endpoint = [endpoint].into_iter().filter(|_| key != "tracing.endpoint");
            settings(&endpoint.chain(variables.iter().copied()).collect::<Vec<_>>())
        };
        let of_traces_alone = with(&[of_traces]);
        assert_eq!(with(&[general, of_traces]), of_traces_alone, "{key}");
        assert_eq!(with(&[general]).differing(&of_traces_alone), [key]);
        assert_eq!(with(&[general, of_traces, ours]), with(&[ours]), "{key}");
    }
}

#[test]
fn an_endpoint_of_traces_is_used_as_it_is() {
    let http = ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    let path = |variable, url| settings(&[http, (variable, url)]).tracing_endpoint.unwrap().http_path();
    assert_eq!(path("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4318/x"), "/x/v1/traces");
    assert_eq!(path("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:4318/x"), "/x");
    assert_eq!(path("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://a:4318"), "/");
    assert_eq!(path("BREAKERD_TRACING_ENDPOINT", "http://a:4318/x"), "/x/v1/traces");
}

/// OTLP gives a path a meaning over HTTP only.
#[test]
fn an_endpoint_with_a_path_is_refused_over_grpc_unless_traces_are_disabled() {
    for variable in
        ["BREAKERD_TRACING_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
    {
        let given = (variable, "http://a:4317/v1/traces");
        let error = format!(
            "{variable}: tracing.endpoint: http://a:4317/v1/traces has a path, which OTLP over gRPC does not have: leave out \
             /v1/traces, or set tracing.protocol = \"http/protobuf\""
        );
        assert_eq!(parse("", &[given]).unwrap_err(), [error]);
        settings(&[given, ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")]);
        settings(&[given, ("OTEL_TRACES_EXPORTER", "none")]);
        settings(&[(variable, "http://a:4317/")]);
        // What the protocol should have been is unknown.
        let both = [given, ("BREAKERD_TRACING_PROTOCOL", "http")];
        assert_eq!(parse("", &both).unwrap_err().len(), 1);
    }
    let file = "[tracing]\nendpoint = \"https://a/otlp\"\n";
    let error = parse(file, &[]).unwrap_err().join("");
    assert!(error.starts_with("breakerd.toml:2:12: tracing.endpoint: https://a/otlp has a path"), "{error}");
}

#[test]
fn what_may_be_a_secret_in_an_endpoint_is_refused_and_not_shown() {
    for url in ["http://a:1/?key=word", "http://a:1?key=word", "http://a:1#word", "http://user:word@a:1"] {
        for variable in ["BREAKERD_TRACING_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
            let error = parse("", &[(variable, url)]).unwrap_err().join("").replace("password", "");
            assert!(
                error.starts_with(&format!("{variable}: invalid value")) && !error.contains("word"),
                "{error}"
            );
        }
        let file = format!("[tracing]\nendpoint = \"{url}\"\n");
        let error = parse(&file, &[]).unwrap_err().join("").replace("password", "");
        assert!(error.contains("tracing.endpoint: invalid value") && !error.contains("word"), "{error}");
    }
}

#[test]
fn each_of_two_disables_traces_and_ours_enables_them() {
    for (variables, is_enabled) in [
        (&[("OTEL_SDK_DISABLED", "true")][..], false),
        (&[("OTEL_SDK_DISABLED", "TRUE")], false),
        (&[("OTEL_SDK_DISABLED", "False")], true),
        (&[("OTEL_TRACES_EXPORTER", "none")], false),
        (&[("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "otlp")], false),
        (&[("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "none")], false),
        (&[("OTEL_SDK_DISABLED", "true"), ("BREAKERD_TRACING_ENABLED", "true")], true),
        (&[("BREAKERD_TRACING_ENABLED", "false")], false),
        (&[("OTEL_SDK_DISABLED", "")], true),
    ] {
        assert_eq!(settings(variables).tracing_enabled, is_enabled, "{variables:?}");
    }
    // What the file disables, variables that say nothing do not enable.
    let file = "[tracing]\nenabled = false\n";
    let says_nothing = [("OTEL_SDK_DISABLED", "false"), ("OTEL_TRACES_EXPORTER", "otlp")];
    assert!(!parse(file, &says_nothing).unwrap().tracing_enabled);
}

#[test]
fn the_argument_of_a_sampler_counts_for_the_one_that_has_one() {
    for (variables, per_million) in [
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_on")][..], 1_000_000),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_off")], 0),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")], 1_000_000),
        (&[("OTEL_TRACES_SAMPLER", "parentbased_always_on"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")], 1_000_000),
        (&[("OTEL_TRACES_SAMPLER", "ParentBased_TraceIdRatio"), ("OTEL_TRACES_SAMPLER_ARG", "0.5")], 500_000),
        (&[("OTEL_TRACES_SAMPLER_ARG", "0.5")], 10_000),
        (
            &[("OTEL_TRACES_SAMPLER", "parentbased_always_on"), ("BREAKERD_TRACING_SAMPLE_RATIO", "0.1")],
            100_000,
        ),
    ] {
        assert_eq!(settings(variables).tracing_sample_ratio.per_million(), per_million, "{variables:?}");
    }
}

#[test]
fn what_is_refused_is_named_with_what_is_taken() {
    for (variable, value, error) in [
        (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "http://user:secret@a:4318",
            "invalid value \"http://a:4318\": must be a URL such as http://127.0.0.1:4318/v1/traces, without user, \
             password and query (put secrets into tracing.headers_file)",
        ),
        (
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
            "http/json",
            "invalid value \"http/json\": must be grpc or http/protobuf",
        ),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "invalid value \"zstd\": must be none or gzip"),
        (
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
            "x=1,secret",
            "invalid value a text that is not shown: must be name=value,name=value: at most 32, percent-encoded, none that \
             the protocol sets (header 2: has no =)",
        ),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "invalid value \"10s\": must be 100..=60000 (milliseconds)"),
        ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "0", "invalid value \"0\": must be 100..=60000 (milliseconds)"),
        ("OTEL_SDK_DISABLED", "yes", "invalid value \"yes\": must be true or false"),
        ("OTEL_TRACES_EXPORTER", "otlp,console", "invalid value \"otlp,console\": must be otlp or none"),
        (
            "OTEL_TRACES_SAMPLER",
            "always_on",
            "invalid value \"always_on\": must be parentbased_always_on or parentbased_always_off or \
             parentbased_traceidratio (breakerd samples what its caller samples)",
        ),
    ] {
        assert_eq!(parse("", &[(variable, value)]).unwrap_err(), [format!("{variable}: {error}")]);
    }
    let ratio = [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
    let error = "OTEL_TRACES_SAMPLER_ARG: invalid value \"2\": must be 0..=1, up to 6 decimals";
    assert_eq!(parse("", &ratio).unwrap_err(), [error]);
    // Headers in the file are as secret.
    let error = parse("[tracing]\nheaders = [\"secret\"]\n", &[]).unwrap_err().join("");
    assert!(error.contains("tracing.headers: invalid value a text that is not shown"), "{error}");
}

/// A CA that all programs of a host share says nothing about the collector of this one.
#[test]
fn a_shared_ca_is_no_conflict_without_https() {
    let shared = ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem");
    settings(&[shared]);
    settings(&[shared, ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317")]);
    let ours = parse("", &[shared, ("BREAKERD_TRACING_CA", "/etc/ca.pem")]).unwrap_err();
    assert_eq!(ours, ["BREAKERD_TRACING_CA: tracing.ca: needs tracing.endpoint with https://"]);
}
