//! `envoy.service.auth.v3.Authorization`: whether a request may go to the service behind the proxy.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use breaker::check_service;
use breakerd_api::enums::ApiEnum as _;
use breakerd_api::envoy_api::envoy::config::core::v3::address::Address;
use breakerd_api::envoy_api::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use breakerd_api::envoy_api::envoy::config::core::v3::socket_address::PortSpecifier;
use breakerd_api::envoy_api::envoy::config::core::v3::{HeaderValue, HeaderValueOption};
use breakerd_api::envoy_api::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer};
use breakerd_api::envoy_api::envoy::service::auth::v3::authorization_server::Authorization;
use breakerd_api::envoy_api::envoy::service::auth::v3::check_response::HttpResponse;
use breakerd_api::envoy_api::envoy::service::auth::v3::{
    AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use breakerd_api::envoy_api::envoy::r#type::v3::HttpStatus;
use breakerd_api::envoy_api::google::rpc;
use breakerd_api::v1::{AllowReason, AllowRequestRequest, State};
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use serde_json::json;
use tonic::{Code, Request, Response, Status};

use super::super::client_info::ClientInfo;
use super::super::status::{Failure, rejected_call};
use super::super::violations::{Kind, Violations};
use super::super::{call_span, convert, decide};
use super::settings::EnvoySettings;
use super::wire::{CALLER_FIELD, PERMIT_FIELD};
use crate::app::App;
use crate::config::RequestParts;
use crate::engine::Allowed;
use crate::log_throttle::LogThrottle;

/// Where a route says which breaker its requests are of.
const SERVICE: &str = "breakerd_service";
const NAME: &str = "breakerd_name";

/// The code that Envoy translates to UNAVAILABLE for a client of gRPC.
const GRPC_DENIED_STATUS: u32 = 503;

/// Bytes of a caller's label.
const CALLER_BYTES_MAX: usize = 256;

/// The service.
pub(in crate::grpc) struct Checks {
    app: Arc<App>,
    settings: EnvoySettings,
    invalid_names: LogThrottle,
}

impl Checks {
    pub(super) fn new(app: Arc<App>, settings: EnvoySettings) -> Self {
        Self { app, settings, invalid_names: LogThrottle::default() }
    }

    /// What the request is of.
    fn asked(&self, attributes: &AttributeContext) -> Result<AllowRequestRequest, Failure> {
        let destination = destination(attributes);
        let parts = http(attributes).map_or_else(
            || RequestParts::of_connection(&destination),
            |http| RequestParts::of_http(&http.host, &http.path),
        );
        // A connection of TCP has no route; what its proxy says of itself is all there is.
        let labels = attributes.destination.as_ref().map(|peer| &peer.labels);
        let of_route = |key: &str| {
            let said = attributes.context_extensions.get(key).or_else(|| labels?.get(key));
            said.filter(|name| !name.is_empty())
        };
        let (service, name) = if let Some(service) = of_route(SERVICE) {
            (service.clone(), of_route(NAME).cloned().unwrap_or_default())
        } else {
            let name = of_route(NAME).cloned().unwrap_or_else(|| self.settings.name.fill(parts));
            (self.settings.service.fill(parts), name)
        };
        check_names(&service, &name)?;
        let principal = attributes.source.as_ref().map_or("", |peer| &peer.principal);
        let is_label = principal.len() <= CALLER_BYTES_MAX && !principal.chars().any(char::is_control);
        let caller = if is_label { principal.to_owned() } else { String::new() };
        Ok(AllowRequestRequest { service, name, caller })
    }

    /// The proxy gets only a status, and lets such requests pass: why is in no log but this.
    #[cold]
    fn invalid_name(&self, client: &ClientInfo, failure: Failure) -> Failure {
        if let Failure::Invalid(problem) = &failure
            && self.invalid_names.is_due(self.app.clock.now())
        {
            let proxy = client.actor();
            tracing::warn!(proxy, %problem, "check rejected: invalid name of a route, its requests pass without a breaker");
        }
        failure
    }

    fn allowed(&self, permit: String, asked: AllowRequestRequest) -> CheckResponse {
        let headers = self.settings.permit_header.iter();
        let headers = headers.map(|name| header(name.as_str(), permit.clone())).collect();
        let mut fields = BTreeMap::from([(PERMIT_FIELD.to_owned(), text(permit))]);
        if !asked.caller.is_empty() {
            fields.insert(CALLER_FIELD.to_owned(), text(asked.caller));
        }
        for (field, value) in [("service", asked.service), ("name", asked.name)] {
            if !value.is_empty() {
                fields.insert(field.to_owned(), text(value));
            }
        }
        CheckResponse {
            status: Some(status(Code::Ok, String::new())),
            http_response: Some(HttpResponse::OkResponse(OkHttpResponse { headers })),
            dynamic_metadata: Some(Struct { fields }),
        }
    }

    fn denied(&self, allowed: &Allowed, asked: &AllowRequestRequest, is_grpc: bool) -> CheckResponse {
        let decision = &allowed.decision;
        let state = State::from(decision.state).name();
        let name = if asked.name.is_empty() { &asked.service } else { &asked.name };
        // Without a body the client is not told either what the service is called.
        let problem = if self.settings.denied_body {
            format!("circuit breaker {}/{name} is {state}", asked.service)
        } else {
            format!("circuit breaker is {state}")
        };
        let retry_after = decision.retry_after.map(whole_seconds);
        let mut headers = vec![header("x-breakerd-state", state.to_owned())];
        headers.extend(retry_after.map(|seconds| header("retry-after", seconds.to_string())));
        let mut body = String::new();
        if is_grpc {
            // Envoy makes UNAVAILABLE of it, and a message of the body.
            body.clone_from(&problem);
            let details = rejected_call(&problem, decision.retry_after);
            headers.push(header("grpc-status-details-bin", STANDARD_NO_PAD.encode(details)));
        } else if self.settings.denied_body {
            headers.push(header("content-type", "application/json".to_owned()));
            let reason = AllowReason::from(decision.verdict).name();
            let service = &asked.service;
            body = json!({
                "error": problem, "service": service, "name": name, "state": state, "reason": reason,
                "retry_after_seconds": retry_after,
            })
            .to_string();
        }
        // Of another code Envoy would make another status than UNAVAILABLE.
        let code = if is_grpc { GRPC_DENIED_STATUS } else { self.settings.denied_status };
        let code = i32::try_from(code).unwrap_or_default();
        let denied = DeniedHttpResponse { status: Some(HttpStatus { code }), headers, body };
        CheckResponse {
            status: Some(status(Code::Unavailable, problem)),
            http_response: Some(HttpResponse::DeniedResponse(denied)),
            dynamic_metadata: None,
        }
    }
}

#[tonic::async_trait]
impl Authorization for Checks {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let loaded = self.app.loaded().ok_or_else(|| Failure::not_loaded(&self.app))?;
        let client = ClientInfo::of(&request);
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let asked = self.asked(&attributes).map_err(|failure| self.invalid_name(&client, failure))?;
        call_span::breaker(&self.app, &asked.service, &asked.name);
        let now = self.app.clock.now();
        let allowed = decide::allow(loaded, &client, client.own_creator(), &asked, now).await?;
        let seals = loaded.engine.seals();
        Ok(Response::new(if allowed.decision.verdict.allows() {
            let permit = allowed.permit.as_ref().map(|permit| STANDARD.encode(&*seals.seal(permit)));
            self.allowed(permit.unwrap_or_default(), asked)
        } else {
            self.denied(&allowed, &asked, is_grpc(&attributes))
        }))
    }
}

/// All violations, by the names that a route has.
fn check_names(service: &str, name: &str) -> Result<(), Failure> {
    let mut violations = Violations::default();
    let field = |name: &str| format!("attributes.context_extensions.{name}");
    if service.is_empty() {
        let problem = "is required: neither the route names a service, nor has the request what envoy.service is made of";
        violations.add(field(SERVICE), Kind::Required, problem);
    } else if let Err(error) = check_service(service) {
        violations.add_value(field(SERVICE), service, &error);
    }
    if let Err(error) = convert::check_breaker_name(name) {
        violations.add_value(field(NAME), name, &error);
    }
    if violations.is_empty() { Ok(()) } else { Err(violations.into()) }
}

fn http(attributes: &AttributeContext) -> Option<&HttpRequest> {
    attributes.request.as_ref()?.http.as_ref()
}

/// Where a connection of TCP goes: the name that its TLS asked for, else the address and the port.
fn destination(attributes: &AttributeContext) -> String {
    let sni = attributes.tls_session.as_ref().map_or("", |session| &session.sni);
    if !sni.is_empty() {
        return sni.to_owned();
    }
    let of_peer = |peer: &Peer| {
        let Address::SocketAddress(socket) = peer.address.as_ref()?.address.as_ref()?;
        let Some(PortSpecifier::PortValue(port)) = socket.port_specifier else { return None };
        Some(format!("{}:{port}", socket.address))
    };
    attributes.destination.as_ref().and_then(of_peer).unwrap_or_default()
}

/// As Envoy has it, which answers those in the form of gRPC: not gRPC-Web, if no filter before the check has translated it.
fn is_grpc(attributes: &AttributeContext) -> bool {
    let content_type = http(attributes).and_then(|http| http.headers.get("content-type"));
    let rest = content_type.and_then(|content_type| content_type.strip_prefix("application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

fn status(code: Code, message: String) -> rpc::Status {
    rpc::Status { code: code as i32, message, details: Vec::new() }
}

fn text(value: String) -> Value {
    Value { kind: Some(ValueKind::StringValue(value)) }
}

fn header(name: &str, value: String) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(HeaderValue { key: name.to_owned(), value }),
        append_action: HeaderAppendAction::OverwriteIfExistsOrAdd as i32,
    }
}

/// As `retry-after` has it: rounded up, so that nobody comes too early.
fn whole_seconds(duration: Duration) -> u64 {
    (duration.as_secs() + u64::from(duration.subsec_nanos() > 0)).max(1)
}
