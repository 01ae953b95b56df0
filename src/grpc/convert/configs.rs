//! Configurations as the API shows them, and requests to change them.

use std::hash::Hasher as _;

use breaker::{Attribution, Field, Layer, Origin, Time};
use breakerd_api::thresholds;
use breakerd_api::time::to_timestamp;
use breakerd_api::v1;
use prost::Message as _;
use siphasher::sip::SipHasher24;

use super::super::status::Failure;
use super::super::unknown_name::UnknownName;
use super::super::violations::{Kind, Violations, excerpt};
use super::{breakers, check_service, decisions, fields};
use crate::control::{ControlError, LayerChange, ServiceConfig, Update};
use crate::store::{RequestId, ServiceOverride};

/// The most bytes of a reason.
const REASON_BYTES_MAX: usize = 1_024;
/// Bytes of a request's id: a UUID has 36.
const REQUEST_ID_BYTES_MAX: usize = 64;
/// Entries of a field mask: there are fewer fields, and a repeat does no harm.
const MASK_MAX: usize = 64;

/// A configuration at the wall-clock time `wall`: an override that has ended by then does not apply, though the store may have
/// it for some seconds more.
pub(crate) fn config(config: &ServiceConfig, wall: Time) -> v1::ServiceConfig {
    let layers = Field::ALL
        .iter()
        .map(|field| {
            let origin = config.origins.get(field).copied().unwrap_or(Origin::BuiltIn);
            (thresholds::name(*field).to_owned(), v1::ConfigSource::from(origin) as i32)
        })
        .collect();
    v1::ServiceConfig {
        service: config.service.clone(),
        thresholds: Some(breakers::thresholds(&config.thresholds)),
        sources: layers,
        api_thresholds: Some(thresholds::from_layer(&config.set)),
        etag: config.etag(),
        revision: config.changed.map_or(0, |changed| changed.revision),
        changed_at: config.changed.map(|changed| to_timestamp(changed.at)),
        r#override: config.set_override.as_ref().filter(|set| !set.has_ended(wall)).map(service_override),
        enabled: config.enabled,
        deleted: !config.is_own && config.changed.is_some(),
        warnings: config.warnings().iter().map(ToString::to_string).collect(),
    }
}

fn service_override(set: &ServiceOverride) -> v1::ServiceOverride {
    v1::ServiceOverride {
        state: v1::State::from(breaker::State::from(set.kind)) as i32,
        actor: set.attribution.actor.clone(),
        reason: set.attribution.reason.clone(),
        set_at: Some(to_timestamp(set.set_at)),
        expires_at: set.expires_at.map(to_timestamp),
    }
}

/// The requested update, by `actor`.
pub(crate) fn update(request: v1::UpdateConfigRequest, actor: String) -> Result<Update, Violations> {
    let mut violations = Violations::default();
    let request_id = {
        let identified = v1::UpdateConfigRequest { validate_only: false, ..request.clone() };
        request_id(&request.request_id, "update", &identified.encode_to_vec(), &mut violations)
    };
    let given = fields::layer_from_wire(&request.thresholds.unwrap_or_default(), &mut violations);
    let change = match request.update_mask {
        None => {
            LayerChange::Fields(given.iter().map(|(field, value)| (field, Some(value.clone()))).collect())
        }
        Some(mask) => masked(&mask.paths, given, &mut violations),
    };
    let service = own_service(request.service, &mut violations);
    let reason = reason(request.reason, &mut violations);
    let update = Update {
        service,
        change,
        etag: Some(request.etag).filter(|etag| !etag.is_empty()),
        must_exist: request.must_exist,
        validate_only: request.validate_only,
        request: request_id,
        attribution: Attribution { actor, reason },
    };
    violations.unless(update)
}

/// The requested deletion, by `actor`.
pub(crate) fn deletion(request: v1::DeleteConfigRequest, actor: String) -> Result<Update, Violations> {
    let mut violations = Violations::default();
    let request_id = {
        let identified = v1::DeleteConfigRequest { validate_only: false, ..request.clone() };
        request_id(&request.request_id, "delete", &identified.encode_to_vec(), &mut violations)
    };
    let service = own_service(request.service, &mut violations);
    let reason = reason(request.reason, &mut violations);
    let update = Update {
        service,
        change: LayerChange::Whole(Layer::default()),
        etag: Some(request.etag).filter(|etag| !etag.is_empty()),
        must_exist: false,
        validate_only: request.validate_only,
        request: request_id,
        attribution: Attribution { actor, reason },
    };
    violations.unless(update)
}

/// A field mask selects fields: one that it names and the message does not set is unset.
fn masked(paths: &[String], given: Layer, violations: &mut Violations) -> LayerChange {
    if paths.len() > MASK_MAX {
        let problem = format!("too many paths: {}, the limit is {MASK_MAX}", paths.len());
        violations.add("update_mask", Kind::TooMany, problem);
        return LayerChange::Fields(Vec::new());
    }
    if paths.iter().any(|path| path == "*") {
        if paths.len() > 1 {
            violations.add("update_mask", Kind::Mismatch, "\"*\" cannot be combined with other paths");
        }
        return LayerChange::Whole(given);
    }
    let mut meant = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let Some(field) = fields::by_name(path) else {
            let known = fields::suggestion(path)
                .map_or_else(fields::names, |suggestion| format!("did you mean {suggestion}?"));
            let problem = format!("unknown field \"{}\": {known}", excerpt(path));
            violations.add(format!("update_mask.paths[{index}]"), Kind::UnknownValue, problem);
            continue;
        };
        meant.push((field, given.get(field).cloned()));
    }
    LayerChange::Fields(meant)
}

/// The service of a change, which the defaults cannot be.
fn own_service(service: String, violations: &mut Violations) -> String {
    if let Err(error) = check_service(&service) {
        violations.add_key("service", &error);
    }
    service
}

/// The reason of a change; may be left out.
pub(crate) fn reason(reason: String, violations: &mut Violations) -> String {
    decisions::check_text_within(REASON_BYTES_MAX, "reason", &reason, violations);
    reason
}

fn request_id(id: &str, call: &str, encoded: &[u8], violations: &mut Violations) -> Option<RequestId> {
    decisions::check_text_within(REQUEST_ID_BYTES_MAX, "request_id", id, violations);
    let mut hasher = SipHasher24::new_with_key(b"breakerd ask  v1");
    hasher.write(call.as_bytes());
    hasher.write(encoded);
    (!id.is_empty()).then(|| RequestId { id: id.to_owned(), digest: hasher.finish() })
}

/// Why a change was not made.
#[cold]
pub(crate) fn change_failure(error: ControlError) -> Failure {
    match error {
        ControlError::Contradiction(problems) => {
            let mut violations = Violations::default();
            for problem in problems {
                let field = format!("thresholds.{}", thresholds::name(problem.problem.field));
                let text = problem.problem.to_string();
                let text = text.strip_prefix(problem.problem.field.as_str()).unwrap_or(&text);
                let text = text.trim_start_matches([':', ' ']);
                let description = match problem.service {
                    Some(service) => format!("{text}, for service {service}"),
                    None => text.to_owned(),
                };
                violations.add(field, Kind::Mismatch, description);
            }
            violations.into()
        }
        ControlError::NoService { service, sets } => {
            let unknown = UnknownName::service(service);
            Failure::NotFound(if sets { unknown.unless("must_exist = false") } else { unknown })
        }
        ControlError::EtagMismatch { present } => Failure::EtagMismatch { present },
        ControlError::RequestReused => Failure::RequestReused,
        ControlError::TooManyServices { what, max } => Failure::ConfigsFull { what, max },
        ControlError::OverridesInProgress { max } => Failure::OverridesInProgress { max },
        ControlError::NoOverride { service } => Failure::NoOverride { service },
        ControlError::Busy => Failure::Contended,
        ControlError::Store(error) => super::store_failure("configuration write failed", &error),
        error @ (ControlError::Stored(_) | ControlError::OlderGeneration { .. }) => {
            tracing::error!(error = &error as &dyn std::error::Error, "stored configuration is invalid");
            Failure::Internal
        }
    }
}
