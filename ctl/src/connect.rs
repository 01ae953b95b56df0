//! The way to a breakerd: address, TLS, token, deadline.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use breaker::HumanDuration;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use clap::Args;
use http::uri::Authority;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, TimeoutExpired};
use tonic_health::pb::health_client::HealthClient;

use super::error::{Failure, innermost};
use super::screen::{Color, Environment};
use super::times;

/// The default address of a breakerd on this machine.
const DEFAULT_ADDRESS: &str = "127.0.0.1:50051";
/// A page of a thousand breakers, every text as long as it may be, and room for what they will show one day.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The interval of HTTP/2 keepalive pings, which detect a dead server while a watch receives nothing.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How the answer of an HTTP/1 server begins.
const HTTP_1: &[u8; 7] = b"HTTP/1.";
/// The time limit for finding the cause of a failed connection.
const DIAGNOSE_MAX: Duration = Duration::from_secs(1);
/// A file that holds a token and is longer is another file.
const TOKEN_BYTES_MAX: usize = 4_096;

/// The arguments of a command, with the options that every command has.
#[derive(Debug, Args)]
pub struct CliRequest<A: Args> {
    /// The arguments of the command.
    #[command(flatten)]
    pub args: A,
    /// The server, and how its response is printed.
    #[command(flatten)]
    pub options: CommonOptions,
}

/// How a breakerd is reached, and how its answer is shown.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct CommonOptions {
    /// The address of the server.
    #[arg(long, value_name = "ADDRESS", env = "BREAKERD_ADDRESS", hide_env = true, default_value = DEFAULT_ADDRESS)]
    #[arg(help = "Server address: HOST:PORT, or https://HOST:PORT for TLS [env: BREAKERD_ADDRESS]")]
    pub address: String,
    /// A file that holds the token to show.
    #[arg(long, value_name = "FILE")]
    #[arg(help = "File with the bearer token. Overrides BREAKERD_TOKEN")]
    pub token_file: Option<PathBuf>,
    /// Whom to trust.
    #[arg(long, value_name = "FILE")]
    #[arg(help = "CA certificates (PEM file). Default: system trust store [env: BREAKERD_CA]")]
    pub ca: Option<PathBuf>,
    /// The certificate to show.
    #[arg(long, value_name = "FILE", help = "Client certificate (PEM file) [env: BREAKERD_CERT]")]
    pub cert: Option<PathBuf>,
    /// The key of the certificate.
    #[arg(long, value_name = "FILE", help = "Key of the client certificate (PEM file) [env: BREAKERD_KEY]")]
    pub key: Option<PathBuf>,
    /// Timeout of the connection and of each response.
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = times::duration)]
    pub timeout: Duration,
    /// Print JSON (protobuf JSON mapping), also for errors.
    #[arg(long)]
    pub json: bool,
    /// Tables as wide as they are, on a terminal too.
    #[arg(long, help = "Print full-width tables. Default: fit them to the terminal")]
    pub wide: bool,
    /// When to colour.
    #[arg(long, value_name = "WHEN", value_enum, default_value = "auto", hide_possible_values = true)]
    #[arg(help = "When to use color: auto (on a terminal, unless NO_COLOR is set), always, never")]
    pub color: Color,
}

impl CommonOptions {
    fn with_environment(&self, environment: &Environment) -> Self {
        let or =
            |flag: &Option<PathBuf>, variable: &Option<PathBuf>| flag.as_ref().or(variable.as_ref()).cloned();
        Self {
            ca: or(&self.ca, &environment.ca),
            cert: or(&self.cert, &environment.cert),
            key: or(&self.key, &environment.key),
            ..self.clone()
        }
    }
}

/// A connection to a breakerd.
#[derive(Debug)]
pub(super) struct Connection {
    channel: Channel,
    bearer: Option<MetadataValue<Ascii>>,
    address: String,
    timeout: Duration,
}

impl Connection {
    /// Connects. What flags leave out is taken from the variables.
    pub(super) async fn to(options: &CommonOptions, environment: &Environment) -> Result<Self, Failure> {
        let options = &options.with_environment(environment);
        let address = url(options)?;
        let bearer = bearer(options, environment.token.as_deref())?;
        let mut endpoint = Endpoint::from_shared(address.clone())
            .map_err(|_| {
                Failure::Usage(format!(
                    "--address: invalid value {}: must be HOST:PORT or https://HOST:PORT",
                    options.address
                ))
            })?
            .user_agent(concat!("breakerd-cli/", env!("CARGO_PKG_VERSION")))
            // A version is a user agent.
            .map_err(|error| Failure::Usage(error.to_string()))?
            .connect_timeout(options.timeout)
            .http2_keep_alive_interval(KEEPALIVE);
        if address.starts_with("https://") {
            let tls = tls(options)?;
            endpoint = endpoint.tls_config(tls).map_err(|error| {
                Failure::Usage(format!("invalid --ca, --cert or --key: {}", innermost(&error)))
            })?;
        }
        let connecting = tokio::time::timeout(options.timeout, endpoint.connect());
        match connecting.await {
            Ok(Ok(channel)) => Ok(Self { channel, bearer, address, timeout: options.timeout }),
            Ok(Err(error)) => Err(Failure::Unreachable { address, problem: innermost(&error) }),
            Err(_) => Err(Failure::Unreachable {
                address,
                problem: format!("no connection within {}", HumanDuration(options.timeout)),
            }),
        }
    }

    pub(super) fn breakers(&self) -> BreakerServiceClient<Channel> {
        BreakerServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn configs(&self) -> ConfigServiceClient<Channel> {
        ConfigServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn operations(&self) -> OperationsServiceClient<Channel> {
        OperationsServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub(super) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Makes one unary RPC. The timeout is sent as its deadline, and enforced here too.
    pub(super) async fn call<T, A>(
        &self,
        message: T,
        rpc: impl AsyncFnOnce(Request<T>) -> Result<tonic::Response<A>, tonic::Status>,
    ) -> Result<A, Failure> {
        let mut request = self.request(message);
        request.set_timeout(self.timeout);
        match tokio::time::timeout(self.timeout, rpc(request)).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(self.failure_from(status)),
            Err(_) => Err(self.no_response()),
        }
    }

    /// What a status means: one without details that has a cause on this side is a broken connection, or a
    /// deadline that passed here.
    pub(super) fn failure_from(&self, status: tonic::Status) -> Failure {
        let mut causes = std::iter::successors(status.source(), |cause| (*cause).source());
        let passed_here = causes.any(<dyn std::error::Error>::is::<TimeoutExpired>);
        if passed_here || status.code() == tonic::Code::DeadlineExceeded {
            return self.no_response();
        }
        match status.source() {
            Some(source) if status.details().is_empty() => {
                Failure::Unreachable { address: self.address.clone(), problem: innermost(source) }
            }
            _ => status.into(),
        }
    }

    /// A request with everything but a deadline: for a stream that has no end.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        request
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn no_response(&self) -> Failure {
        Failure::NoResponse { address: self.address.clone(), timeout: self.timeout }
    }
}

/// The address as a URL. Who names certificates wants TLS.
fn url(options: &CommonOptions) -> Result<String, Failure> {
    // An empty variable is none, as with those of the server.
    let address = if options.address.is_empty() { DEFAULT_ADDRESS } else { &options.address };
    let without_scheme = address.split_once("://").map_or(address, |(_, rest)| rest);
    check_port(without_scheme.split('/').next().unwrap_or_default())?;
    if address.contains("://") {
        return Ok(address.to_owned());
    }
    // Without a port it would be 80 or 443, where no breakerd listens.
    if address.parse::<Authority>().is_ok_and(|authority| authority.port().is_none()) {
        return Err(Failure::Usage(format!("--address: {address} has no port: use {address}:50051")));
    }
    let scheme = if options.ca.is_some() || options.cert.is_some() || options.key.is_some() {
        "https"
    } else {
        "http"
    };
    Ok(format!("{scheme}://{address}"))
}

/// Refuses a port that is none. An address without one passes.
fn check_port(authority: &str) -> Result<(), Failure> {
    let Some((host, port)) = authority.rsplit_once(':') else { return Ok(()) };
    if host.starts_with('[') && !host.ends_with(']') {
        // The last colon is one of the address's.
        return Ok(());
    }
    if host.contains(':') && !host.starts_with('[') {
        return Err(Failure::Usage(format!(
            "--address: invalid value {authority}: write an IPv6 address in brackets, such as [::1]:50051"
        )));
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(()),
        Ok(0) | Err(_) => {
            Err(Failure::Usage(format!("--address: invalid port `{port}`: must be from 1 to 65535")))
        }
    }
}

/// Why a server that was reached does not answer as breakerd's gRPC server does: it may be another port of breakerd's.
pub(super) async fn diagnose(failure: Failure) -> Failure {
    let Failure::Unreachable { address, problem } = failure else { return failure };
    let is_http = match address.strip_prefix("http://") {
        Some(host_and_port) => is_http_port(host_and_port.trim_end_matches('/')).await,
        None => false,
    };
    if is_http { Failure::HttpPort { address } } else { Failure::Unreachable { address, problem } }
}

/// Whether what listens there speaks HTTP/1, which no gRPC server does.
async fn is_http_port(host_and_port: &str) -> bool {
    let probe = async {
        let mut stream = TcpStream::connect(host_and_port).await.ok()?;
        let request = format!("GET /livez HTTP/1.1\r\nHost: {host_and_port}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut begin = [0; HTTP_1.len()];
        stream.read_exact(&mut begin).await.ok()?;
        Some(begin == *HTTP_1)
    };
    tokio::time::timeout(DIAGNOSE_MAX, probe).await.ok().flatten().unwrap_or(false)
}

fn tls(options: &CommonOptions) -> Result<ClientTlsConfig, Failure> {
    let mut tls = ClientTlsConfig::new();
    tls = match &options.ca {
        Some(ca) => {
            let pem = read("read --ca", ca)?;
            // rustls would trust no certificate, and report the server's as invalid.
            if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
                return Err(Failure::Usage(format!("--ca {}: no PEM certificate found", ca.display())));
            }
            tls.ca_certificate(Certificate::from_pem(pem))
        }
        None => tls.with_native_roots(),
    };
    match (&options.cert, &options.key) {
        (None, None) => Ok(tls),
        (Some(cert), Some(key)) => {
            Ok(tls.identity(Identity::from_pem(read("read --cert", cert)?, read("read --key", key)?)))
        }
        _ => Err(Failure::Usage(
            "--cert and --key (BREAKERD_CERT, BREAKERD_KEY) must be set together".to_owned(),
        )),
    }
}

fn bearer(options: &CommonOptions, token: Option<&str>) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let held = match &options.token_file {
        Some(file) => {
            let bytes = read("read --token-file", file)?;
            let text = String::from_utf8(bytes).ok().filter(|text| text.len() <= TOKEN_BYTES_MAX);
            Some(text.ok_or_else(|| Failure::Usage(format!("{}: no token found", file.display())))?)
        }
        None => token.map(str::to_owned),
    };
    let Some(held) = held else { return Ok(None) };
    let token = held.trim();
    // Not printed: an invalid token is a secret too.
    let wrong =
        || Failure::Usage("invalid token: must not be empty or contain control characters".to_owned());
    if token.is_empty() {
        return Err(wrong());
    }
    let mut bearer: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| wrong())?;
    bearer.set_sensitive(true);
    Ok(Some(bearer))
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|source| Failure::File { what, path: path.display().to_string(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_checked_wherever_it_stands() {
        for right in ["localhost:50051", "[::1]:50051", "10.0.0.1:1", "[::1]", "localhost", "breakerd"] {
            assert!(check_port(right).is_ok(), "{right}");
        }
        for wrong in
            ["localhost:", "localhost:0", "localhost:65536", "localhost:grpc", "[::1]:x", "::1", "::1:50051"]
        {
            assert!(check_port(wrong).is_err(), "{wrong}");
        }
    }
}
