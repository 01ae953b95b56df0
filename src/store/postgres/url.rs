//! The URL of a Postgres database, as libpq writes it, with several hosts; read by us and not by the driver.
//!
//! The driver passes over a parameter that it does not know, and then connects without what was asked for: with
//! `sslmod=verify-full` in the clear. Here an unknown parameter is an error, like an unknown key of the file. And it
//! knows one host only, where a database that is switched over has two or more.
//!
//! No error repeats a part of the URL that may be a secret, or a piece of one: host, port and the names of parameters
//! are shown, user, password and the values of parameters are not, except for those that take one of a few words.

use std::fmt::{self, Write as _};

use breakerd_common::nearest::nearest;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sqlx::postgres::PgConnectOptions;

/// More hosts than any cluster has standbys; each is tried whenever there is no connection.
const HOSTS_MAX: usize = 16;

const SCHEMES: [&str; 2] = ["postgres", "postgresql"];
const SSL_MODES: [&str; 6] = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];
/// What a server may be asked for that is written to. breakerd writes, whichever is given.
const SESSION_ATTRS: [&str; 3] = ["any", "primary", "read-write"];

/// Every parameter that is taken, under the name that the driver has for it. (`options[NAME]` is taken too.)
const PARAMETERS: [(&str, &str); 19] = [
    ("application_name", "application_name"),
    ("dbname", "dbname"),
    ("host", "host"),
    ("hostaddr", "host"),
    ("options", "options"),
    ("password", "password"),
    ("port", "port"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("sslcert", "sslcert"),
    ("sslkey", "sslkey"),
    ("sslmode", "sslmode"),
    ("sslrootcert", "sslrootcert"),
    ("statement-cache-capacity", "statement-cache-capacity"),
    ("target_session_attrs", "target_session_attrs"),
    ("user", "user"),
];

/// A database, and the servers that may have it.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    /// At least one. An empty name: the driver's own default.
    hosts: Vec<Host>,
    /// What goes to the driver beside host and port, by its names.
    parameters: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    /// A name, an address without brackets, or the folder of a socket; empty: the driver's default.
    name: String,
    port: Option<u16>,
}

impl fmt::Debug for PostgresUrl {
    /// Without the parameters: there may be a password among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresUrl").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl PostgresUrl {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it and what to do, for people, to follow the setting and a colon.
    pub fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some((scheme, rest)) if SCHEMES.contains(&scheme) => rest,
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                return Err(format!("unknown scheme {scheme}: must be postgres or postgresql"));
            }
            _ => return Err("no scheme: must begin with postgres://".to_owned()),
        };
        if rest.is_empty() {
            return Err("no database".to_owned());
        }
        check_characters(rest)?;
        let pieces = Parts::split(rest)?;
        let mut parameters = Vec::new();
        let mut given = |name: &str, value: String| {
            parameters.retain(|(known, _)| known != name);
            parameters.push((name.to_owned(), value));
        };
        if let Some(user) = pieces.user.filter(|user| !user.is_empty()) {
            given("user", decode(user, "the user")?);
        }
        if let Some(password) = pieces.password {
            given("password", decode(password, "the password")?);
        }
        if !pieces.database.is_empty() {
            given("dbname", decode(pieces.database, "the database")?);
        }
        let mut hosts = pieces.hosts()?;
        let (mut names, mut ports) = (None, None);
        for pair in pieces.query.split('&').filter(|pair| !pair.is_empty()) {
            let (written, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (written, value) = (decode(written, "a parameter")?, decode(value, "a parameter")?);
            let name = parameter(&written)?;
            match &*name {
                "host" => names = Some(value),
                "port" => ports = Some(value),
                "target_session_attrs" => one_of("target_session_attrs", &value, &SESSION_ATTRS)?,
                "sslmode" => {
                    one_of("sslmode", &value, &SSL_MODES)?;
                    given(&name, value);
                }
                "statement-cache-capacity" if value.parse::<usize>().is_err() => {
                    return Err("invalid statement-cache-capacity: must be a whole number".to_owned());
                }
                _ => given(&name, value),
            }
        }
        if let Some(names) = names {
            let bare = |name: &str| Host { name: without_brackets(name).to_owned(), port: None };
            let before = hosts;
            hosts = names.split(',').map(bare).collect();
            // As with libpq, the ports stay those of the list that was replaced, if there are as many, or one.
            for (at, host) in hosts.iter_mut().enumerate() {
                host.port =
                    if before.len() == 1 { before[0].port } else { before.get(at).and_then(|b| b.port) };
            }
        }
        if let Some(ports) = ports {
            let ports = ports.split(',').map(port).collect::<Result<Vec<_>, _>>()?;
            if ports.len() != 1 && ports.len() != hosts.len() {
                return Err(format!(
                    "{} hosts and {} ports: give one port, or one per host",
                    hosts.len(),
                    ports.len()
                ));
            }
            for (at, host) in hosts.iter_mut().enumerate() {
                host.port = *ports.get(at).unwrap_or(&ports[0]);
            }
        }
        if hosts.len() > HOSTS_MAX {
            return Err(format!("too many hosts: {}, the limit is {HOSTS_MAX}", hosts.len()));
        }
        let url = Self { hosts, parameters };
        url.check_tls()?;
        Ok(url)
    }

    /// A root certificate that verifies nothing is a slip, and the connection is not what it looks like.
    fn check_tls(&self) -> Result<(), String> {
        let verifies = self.parameter("sslmode").is_some_and(|mode| mode.starts_with("verify-"));
        if self.parameter("sslrootcert").is_some() && !verifies {
            return Err(
                "sslrootcert has no effect without verification: add sslmode=verify-full (or verify-ca)"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// How to connect to each of its servers, in their order. Reads the password file of libpq (`PGPASSFILE`,
    /// `~/.pgpass`) when the URL has no password: blocking, and anew each time, for a password that was rotated.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(super) fn servers(&self) -> Result<Vec<PgConnectOptions>, String> {
        // The driver takes a mode that it does not know for none.
        if self.parameter("sslmode").is_none()
            && let Ok(mode) = std::env::var("PGSSLMODE")
        {
            one_of("sslmode", &mode, &SSL_MODES).map_err(|problem| format!("PGSSLMODE: {problem}"))?;
        }
        self.hosts.iter().map(|host| self.server(host)).collect()
    }

    fn server(&self, host: &Host) -> Result<PgConnectOptions, String> {
        let mut url = "postgres:///?".to_owned();
        let mut pair = |name: &str, value: &str| {
            let encode = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
            // Writing to a text cannot fail.
            let _ = write!(url, "{}={}&", encode(name), encode(value));
        };
        if !host.name.is_empty() {
            pair("host", &host.name);
        }
        if let Some(port) = host.port {
            pair("port", &port.to_string());
        }
        for (name, value) in &self.parameters {
            pair(name, value);
        }
        // What the driver would say may repeat a value.
        let options: PgConnectOptions = url.parse().map_err(|_| "invalid URL".to_owned())?;
        let named = options.get_application_name().is_some();
        let options = if named { options } else { options.application_name("breakerd") };
        // No number of ours is a float, and PgBouncer refuses parameters that it does not know.
        Ok(options.extra_float_digits(None))
    }
}

/// The pieces of a URL behind its scheme, still encoded.
struct Parts<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
    hosts: &'a str,
    database: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn split(rest: &'a str) -> Result<Self, String> {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, behind) = rest.split_at(end);
        let (path, query) = behind.split_once('?').unwrap_or((behind, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        // An @ behind a / or ? was meant to end the password, unless what is before the ? is a host.
        if path.contains('@') {
            return Err("/ before @: in a user or password, write %2F".to_owned());
        }
        if credentials.is_none()
            && query.contains('@')
            && hosts.split(',').any(|host| Self::host(host).is_err())
        {
            return Err("? before @: in a user or password, write %3F".to_owned());
        }
        let (user, password) = match credentials.map(|credentials| credentials.split_once(':')) {
            Some(Some((user, password))) => (Some(user), Some(password)),
            Some(None) => (credentials, None),
            None => (None, None),
        };
        Ok(Self { user, password, hosts, database: path.trim_start_matches('/'), query })
    }

    fn hosts(&self) -> Result<Vec<Host>, String> {
        self.hosts.split(',').map(Self::host).collect()
    }

    fn host(text: &str) -> Result<Host, String> {
        let (name, at) = if let Some(inside) = text.strip_prefix('[') {
            let (address, behind) = inside.split_once(']').ok_or("[ without ]")?;
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return Err("invalid IPv6 address in brackets".to_owned());
            }
            (address.to_owned(), behind)
        } else {
            let end = text.find(':').unwrap_or(text.len());
            (decode(&text[..end], "the host")?, &text[end..])
        };
        if at.matches(':').count() > 1 {
            return Err("more than one colon in a host: write an IPv6 address in brackets, as in \
                        [::1]:5432"
                .to_owned());
        }
        let port = match at.strip_prefix(':') {
            Some(text) => port(text)?,
            None if at.is_empty() => None,
            None => return Err("unexpected text after ] in a host".to_owned()),
        };
        Ok(Host { name, port })
    }
}

fn port(text: &str) -> Result<Option<u16>, String> {
    match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(port) if port > 0 && !text.starts_with('+') => Ok(Some(port)),
            _ => Err("invalid port: must be a number from 1 to 65535; in a user or password, write @ as \
                      %40, : as %3A and / as %2F"
                .to_owned()),
        },
    }
}

fn without_brackets(name: &str) -> &str {
    name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
}

/// Characters that mean something else than themselves, or nothing, in a URL.
fn check_characters(rest: &str) -> Result<(), String> {
    if rest.contains('#') {
        return Err("unescaped #: in a user or password, write %23".to_owned());
    }
    if rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("unescaped space, line break or control character: write a space as %20".to_owned());
    }
    Ok(())
}

fn decode(text: &str, what: &str) -> Result<String, String> {
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let stray = bytes
        .iter()
        .enumerate()
        .any(|(at, byte)| *byte == b'%' && !(is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2))));
    if stray {
        return Err(format!("% in {what} without two hexadecimal digits: write % as %25"));
    }
    let text = percent_decode_str(text).decode_utf8().map_err(|_| format!("{what} is not UTF-8"))?;
    if text.contains('\0') {
        return Err(format!("zero byte in {what}"));
    }
    Ok(text.into_owned())
}

/// The driver's name of a parameter.
fn parameter(written: &str) -> Result<String, String> {
    if let Some((_, name)) = PARAMETERS.iter().find(|(known, _)| *known == written) {
        return Ok((*name).to_owned());
    }
    if written.starts_with("options[") && written.ends_with(']') {
        return Ok(written.to_owned());
    }
    let hint = match nearest(written, PARAMETERS.iter().map(|(known, _)| *known)) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("valid parameters are {}", PARAMETERS.map(|(known, _)| known).join(", ")),
    };
    // A piece of a password with a ? and an = in it would stand here.
    let is_name =
        written.len() <= 40 && written.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-[]".contains(&b));
    let shown = if is_name { format!("parameter {written}") } else { "parameter".to_owned() };
    Err(format!("unknown {shown}: {hint}"))
}

fn one_of(name: &str, value: &str, words: &[&str]) -> Result<(), String> {
    if words.contains(&value) {
        return Ok(());
    }
    let near = nearest(value, words.iter().copied());
    let near = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
    Err(format!("invalid {name}: must be one of {}{near}", words.join(", ")))
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use super::*;

    fn url(text: &str) -> PostgresUrl {
        PostgresUrl::parse(text).unwrap_or_else(|problem| panic!("{text}: {problem}"))
    }

    fn hosts(text: &str) -> Vec<(String, Option<u16>)> {
        url(text).hosts.into_iter().map(|host| (host.name, host.port)).collect()
    }

    #[test]
    fn a_url_may_name_several_hosts_and_addresses_of_both_kinds() {
        for (text, expected) in [
            ("postgres://db/x", vec![("db", None)]),
            ("postgresql://ann:pw@db:5433/x", vec![("db", Some(5433))]),
            ("postgres://ann@[::1]/x", vec![("::1", None)]),
            ("postgres://[2001:db8::7]:5433", vec![("2001:db8::7", Some(5433))]),
            ("postgres://a:1,b,[::1]:3/x", vec![("a", Some(1)), ("b", None), ("::1", Some(3))]),
            ("postgres:///x?host=a,b&port=1,2", vec![("a", Some(1)), ("b", Some(2))]),
            ("postgres://a:7/x?host=b,c", vec![("b", Some(7)), ("c", Some(7))]),
            ("postgres:///x?host=a,b&port=7", vec![("a", Some(7)), ("b", Some(7))]),
            ("postgres://%2Fvar%2Frun%2Fpostgresql/x", vec![("/var/run/postgresql", None)]),
            ("postgres:///x", vec![("", None)]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(name, port)| (name.to_owned(), port)).collect();
            assert_eq!(hosts(text), expected, "{text}");
        }
    }

    #[test]
    fn the_driver_is_told_what_the_url_says() {
        let servers =
            url("postgres://ann:p%40s+s%2F@[::1]:5433,b:1/my%20db?sslmode=verify-full&options[a]=1")
                .servers()
                .unwrap();
        let [one, other] = &servers[..] else { panic!("{servers:?}") };
        assert_eq!((one.get_host(), one.get_port()), ("::1", 5433));
        assert_eq!((other.get_host(), other.get_port()), ("b", 1));
        assert_eq!((one.get_username(), one.get_database()), ("ann", Some("my db")));
        assert_eq!(one.get_application_name(), Some("breakerd"));
        assert_eq!(one.get_options(), Some("-c a=1"));
        assert!(matches!(one.get_ssl_mode(), PgSslMode::VerifyFull));
        assert!(format!("{one:?}").contains("p@s+s/"), "{one:?}");
    }

    #[test]
    fn what_a_url_cannot_be_is_told_with_what_to_write_and_without_a_secret() {
        for (text, expected) in [
            ("postgres://ann:secret#1@db/x", "unescaped #: in a user or password, write %23"),
            ("postgres://ann:sec/ret@db/x", "/ before @: in a user or password, write %2F"),
            ("postgres://ann:sec?ret@db/x", "? before @: in a user or password, write %3F"),
            ("postgres://ann:secret%@db/x", "% in the password"),
            ("postgres://ann:secret%zz@db/x", "write % as %25"),
            ("postgres://ann:secret @db/x", "write a space as %20"),
            ("postgres://ann:secret@db:port/x", "invalid port: must be a number from 1 to 65535"),
            ("postgres://ann:secret@db:0/x", "must be a number from 1 to 65535"),
            ("postgres://ann:secret", "must be a number from 1 to 65535"),
            ("postgres://ann:secret@::1/x", "write an IPv6 address in brackets"),
            ("postgres://ann:secret@[::1/x", "[ without ]"),
            ("postgres://ann:secret@[db]/x", "invalid IPv6 address"),
            (
                "postgres://ann:secret@db/x?sslmod=verify-full",
                "unknown parameter sslmod: did you mean sslmode?",
            ),
            ("postgres://ann:secret@db/x?sslmode=verify_full", "did you mean verify-full?"),
            ("postgres://ann:secret@db/x?sslmode=secret", "invalid sslmode: must be one of disable, allow"),
            ("postgres://ann:secret@db/x?sslrootcert=ca.crt", "add sslmode=verify-full"),
            ("postgres://ann:secret@db/x?sslrootcert=ca.crt&sslmode=require", "add sslmode=verify-full"),
            (
                "postgres://ann:secret@db/x?target_session_attrs=read-only",
                "invalid target_session_attrs: must be one of any, primary",
            ),
            ("postgres://ann:secret@db/x?keepalives=1", "valid parameters are application_name, dbname"),
            ("postgres://a,b/x?port=1,2,3", "2 hosts and 3 ports"),
            ("postgres://", "no database"),
            ("mysql://ann:secret@db/x", "unknown scheme mysql"),
            ("ann:secret@db/x", "no scheme: must begin with postgres://"),
        ] {
            let problem = PostgresUrl::parse(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
            assert!(!problem.contains("secret") && !problem.contains("ret@"), "{text}: {problem}");
        }
        assert!(!format!("{:?}", url("postgres://ann:secret@db/x")).contains("secret"));
    }

    #[test]
    fn a_password_may_hold_what_is_no_separator() {
        for text in
            ["postgres://ann:p@ss@db/x", "postgres://ann:p:a:s@db/x", "postgres://db/x?user=ann%40corp"]
        {
            assert_eq!(hosts(text), [("db".to_owned(), None)], "{text}");
        }
    }
}
