//! The log: text for a person at a terminal, JSON, an object a line, for everything else. In both, a line within a sampled span has
//! its ids.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::error::Error;
use std::fmt;
use std::io::{self, IsTerminal};
use std::iter::successors;
use std::panic::PanicHookInfo;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FmtSpan, Format, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogFormat;

/// Starts the log, on standard error, and logs panics. A second start changes nothing.
///
/// # Errors
/// When `level` is no level.
pub fn start(level: &str, format: LogFormat) -> Result<(), tracing_subscriber::filter::ParseError> {
    // Postgres' notices at each start ("already exists, skipping") are noise; a level that names it wins.
    let filter = EnvFilter::try_new(format!("sqlx::postgres::notice=warn,{level}"))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_span_events(FmtSpan::NONE);
    // It fails only when there is a log already, and then that one is used.
    let _ = if is_text(format) {
        let is_colored = io::stderr().is_terminal();
        log.with_ansi(is_colored).event_format(Lines::new(is_colored)).try_init()
    } else {
        log.with_ansi(false).event_format(Objects).try_init()
    };
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// A panic is a line of the log like any other, with its level and in its format, so that log collectors find it.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let location = panic.location().map(ToString::to_string).unwrap_or_default();
    // Captured only when RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    tracing::error!(
        panic = panic.payload_as_str().unwrap_or("no message"),
        location,
        thread = std::thread::current().name().unwrap_or("unnamed"),
        backtrace,
        "panicked"
    );
}

/// Whether a person reads along.
pub fn is_text(format: LogFormat) -> bool {
    match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => io::stderr().is_terminal(),
    }
}

/// The library's text, and the ids of the current span if that is sampled.
struct Lines(Format);

impl Lines {
    fn new(is_colored: bool) -> Self {
        Self(Format::default().with_target(false).with_ansi(is_colored))
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Some(ids) = sampled_ids() else { return self.0.format_event(context, writer, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let line = line.trim_end_matches('\n');
        writeln!(writer, "{line} trace_id={} span_id={}", ids.trace_id(), ids.span_id())
    }
}

/// The ids of the current span, if that is sampled.
fn sampled_ids() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        Some(span.span_context()).filter(|ids| ids.is_sampled()).cloned()
    })
}

/// An object a line: when, how bad, whose it is when it is not ours, what, the fields, and the ids of the current span if that
/// is sampled.
///
/// The library has such a format too, but it leaves the causes of an error out: a database would "not answer", and
/// a wrong certificate could not be told from a wrong port.
struct Objects;

impl<S, N> FormatEvent<S, N> for Objects
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let about = event.metadata();
        write!(writer, "{{\"timestamp\":\"{time}\",\"level\":\"{}\"", about.level())?;
        if !about.target().starts_with(env!("CARGO_CRATE_NAME")) {
            write!(writer, ",\"target\":{}", Value::from(about.target()))?;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        for (name, value) in fields.0 {
            write!(writer, ",{}:{value}", Value::from(name))?;
        }
        if let Some(ids) = sampled_ids() {
            write!(writer, ",\"trace_id\":\"{}\",\"span_id\":\"{}\"", ids.trace_id(), ids.span_id())?;
        }
        writeln!(writer, "}}")
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        // What the crate `log` hands over of itself: where in the source of others.
        if !field.name().starts_with("log.") {
            self.0.push((field.name(), value.into()));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.insert(field, with_causes(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}

fn with_causes(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    for cause in successors(error.source(), |cause| (*cause).source()) {
        let cause = cause.to_string();
        // Many include their cause themselves.
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry::trace::{TraceFlags, TraceState};
    use tracing_subscriber::Registry;
    use tracing_subscriber::fmt::format::DefaultFields;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Fault(&'static str, #[source] Option<Box<Fault>>);

    /// What stands in the log, line by line.
    fn logged(insert: impl FnOnce()) -> Vec<Value> {
        written(Objects, insert).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The text of the log.
    fn written<F>(format: F, insert: impl FnOnce()) -> String
    where
        F: FormatEvent<Registry, DefaultFields> + Send + Sync + 'static,
    {
        let file = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(file.reopen().unwrap());
        let log = tracing_subscriber::fmt().with_writer(writer).event_format(format).finish();
        tracing::subscriber::with_default(log, insert);
        std::fs::read_to_string(file.path()).unwrap()
    }

    /// Runs `insert` within a span that is sampled, or not.
    fn within<T>(flags: TraceFlags, insert: impl FnOnce() -> T) -> T {
        let ids = SpanContext::new(1.into(), 2.into(), flags, true, TraceState::NONE);
        let _attached = Context::new().with_remote_span_context(ids).attach();
        insert()
    }

    #[test]
    fn an_object_has_the_causes_of_an_error_once_and_numbers_as_numbers() {
        let cause = Fault("io: wrong certificate", Some(Box::new(Fault("wrong certificate", None))));
        let error = Fault("the database does not answer", Some(Box::new(cause)));
        let lines = logged(|| {
            tracing::error!(error = &error as &dyn Error, tries = 3_u64, name = %"a \"b\"", "waiting");
        });
        assert_eq!(lines.len(), 1);
        let line = lines[0].as_object().unwrap();
        assert_eq!(line["error"], "the database does not answer: io: wrong certificate");
        assert_eq!((&line["tries"], &line["name"]), (&3.into(), &"a \"b\"".into()));
        assert_eq!((&line["level"], &line["message"]), (&"ERROR".into(), &"waiting".into()));
        assert!(
            line["timestamp"].as_str().unwrap().ends_with('Z') && !line.contains_key("target"),
            "{line:?}"
        );
    }

    #[test]
    fn a_line_within_a_sampled_span_has_its_ids() {
        let line = &within(TraceFlags::SAMPLED, || logged(|| tracing::warn!("circuit opened")))[0];
        assert_eq!(line["trace_id"], "00000000000000000000000000000001");
        assert_eq!(line["span_id"], "0000000000000002");
        let unsampled = within(TraceFlags::default(), || logged(|| tracing::warn!("circuit opened")));
        assert_eq!(unsampled[0].get("trace_id"), None);
        assert_eq!(logged(|| tracing::warn!("circuit opened"))[0].get("trace_id"), None);
    }

    #[test]
    fn a_line_of_text_within_a_sampled_span_has_its_ids_at_its_end() {
        let line = || {
            let text = written(Lines::new(false), || tracing::warn!(service = "payments", "circuit opened"));
            text.split_once(' ').expect("the time comes first").1.to_owned()
        };
        let plain = "WARN circuit opened service=\"payments\"";
        let ids = "trace_id=00000000000000000000000000000001 span_id=0000000000000002";
        assert_eq!(within(TraceFlags::SAMPLED, line).trim_start(), format!("{plain} {ids}\n"));
        assert_eq!(within(TraceFlags::default(), line).trim_start(), format!("{plain}\n"));
        assert_eq!(line().trim_start(), format!("{plain}\n"));
    }

    #[test]
    fn what_others_say_has_their_name_on_it() {
        let lines = logged(|| tracing::warn!(target: "sqlx::pool", "a slow one"));
        assert_eq!(lines[0]["target"], "sqlx::pool");
    }
}
