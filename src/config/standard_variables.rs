//! The variables that programs with OpenTelemetry share, and which settings they set.
//!
//! Their values are written as the specification of OpenTelemetry has them, which is not always as the settings are: a timeout is a
//! number of milliseconds, and a sampler is a name with an argument. So each has a kind of its own. Those of traces alone win over
//! those of all signals. What breakerd cannot do as asked, it refuses by the name of the variable: a sampler that is silently
//! another would be found out too late.

use super::traces::{SAMPLERS, TraceCompression, TraceProtocol};
use super::value_kind::{TIMEOUT_MAX, TIMEOUT_MIN, ValueKind};

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StandardVariable {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub expected: ValueKind,
    /// The value, in any case, that says as much as not setting it does.
    pub unset: &'static str,
    /// It counts only while this other one has this value.
    pub only_with: Option<(&'static str, &'static str)>,
}

impl StandardVariable {
    const fn new(name: &'static str, expected: ValueKind) -> Self {
        Self { name, expected, unset: "", only_with: None }
    }

    /// Its value, as the setting reads it: names are the same in any case.
    pub(super) fn normalized(&self, text: &str) -> String {
        match self.expected {
            ValueKind::Choice(_) | ValueKind::TracesExporter | ValueKind::NegatedFlag => {
                text.to_ascii_lowercase()
            }
            _ => text.to_owned(),
        }
    }
}

/// Of `tracing.enabled`. Each only disables: enabled is what they say when they are not set, so neither undoes the other.
pub(super) const ENABLED: &[StandardVariable] = &[
    StandardVariable {
        unset: "otlp",
        ..StandardVariable::new("OTEL_TRACES_EXPORTER", ValueKind::TracesExporter)
    },
    StandardVariable { unset: "false", ..StandardVariable::new("OTEL_SDK_DISABLED", ValueKind::NegatedFlag) },
];

/// Of `tracing.endpoint`.
pub(super) const ENDPOINT: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_ENDPOINT", ValueKind::Endpoint),
    StandardVariable::new("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ValueKind::TracesEndpoint),
];

/// Of `tracing.protocol`.
pub(super) const PROTOCOL: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_PROTOCOL", ValueKind::Choice(TraceProtocol::NAMES)),
    StandardVariable::new("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", ValueKind::Choice(TraceProtocol::NAMES)),
];

/// Of `tracing.compression`.
pub(super) const COMPRESSION: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_COMPRESSION", ValueKind::Choice(TraceCompression::NAMES)),
    StandardVariable::new(
        "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
        ValueKind::Choice(TraceCompression::NAMES),
    ),
];

/// Of `tracing.sample_ratio`.
pub(super) const SAMPLE_RATIO: &[StandardVariable] = &[
    StandardVariable::new("OTEL_TRACES_SAMPLER", ValueKind::Choice(SAMPLERS)),
    StandardVariable {
        only_with: Some(("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")),
        ..StandardVariable::new("OTEL_TRACES_SAMPLER_ARG", ValueKind::Ratio)
    },
];

/// Of `tracing.service_name`.
pub(super) const SERVICE_NAME: &[StandardVariable] =
    &[StandardVariable::new("OTEL_SERVICE_NAME", ValueKind::TraceServiceName)];

/// Of `tracing.resource_attributes`.
pub(super) const RESOURCE_ATTRIBUTES: &[StandardVariable] =
    &[StandardVariable::new("OTEL_RESOURCE_ATTRIBUTES", ValueKind::ResourceAttributes)];

/// Of `tracing.headers`.
pub(super) const HEADERS: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_HEADERS", ValueKind::Headers),
    StandardVariable::new("OTEL_EXPORTER_OTLP_TRACES_HEADERS", ValueKind::Headers),
];

/// Of `tracing.ca`.
pub(super) const CA: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_CERTIFICATE", ValueKind::File),
    StandardVariable::new("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", ValueKind::File),
];

/// Of `tracing.timeout`.
pub(super) const TIMEOUT: &[StandardVariable] = &[
    StandardVariable::new("OTEL_EXPORTER_OTLP_TIMEOUT", TIMEOUT_MS),
    StandardVariable::new("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", TIMEOUT_MS),
];

const TIMEOUT_MS: ValueKind = ValueKind::Milliseconds { min: TIMEOUT_MIN, max: TIMEOUT_MAX };
