//! Who made the spans: the resource.

use opentelemetry::KeyValue;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::TelemetryResourceDetector;

use crate::config::Settings;
use crate::traces::SCHEMA_URL;
use crate::version::VERSION;

/// Attributes of the settings win over those that breakerd knows by itself; a name of the service that is set wins over
/// both.
pub(super) fn of(settings: &Settings) -> ResourceAttributesWithSchema {
    let known = [
        KeyValue::new("service.name", "breakerd"),
        KeyValue::new("service.version", VERSION),
        KeyValue::new("service.instance.id", settings.replica.clone()),
    ];
    let set = settings.tracing_resource_attributes.iter();
    let set = set.map(|(key, value)| KeyValue::new(key.to_owned(), value.to_owned()));
    let name = settings.tracing_service_name.clone().map(|name| KeyValue::new("service.name", name));
    let attributes = known.into_iter().chain(set).chain(name);
    let resource = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_schema_url(attributes, SCHEMA_URL)
        .build();
    (&resource).into()
}
