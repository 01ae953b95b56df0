//! Where answers are written, and how: for people or for programs, with colours or without.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use breakerd_api::v1::State;
use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};
use prost::Message;

use super::json::Json;

/// When to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a command reads of the environment: variables and the terminal.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `BREAKERD_TOKEN`. A flag would show it in the list of processes.
    pub token: Option<String>,
    /// `BREAKERD_CA`: the CA certificates.
    pub ca: Option<PathBuf>,
    /// `BREAKERD_CERT`: the client certificate.
    pub cert: Option<PathBuf>,
    /// `BREAKERD_KEY`: its key.
    pub key: Option<PathBuf>,
    /// Whether answers go to a terminal that takes colours.
    pub supports_color: bool,
    /// How many columns the terminal has that answers go to; none: it is no terminal.
    pub columns: Option<usize>,
}

impl Environment {
    /// Those of this process.
    pub fn of_process() -> Self {
        let is_terminal = io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        // As for other programs, COLUMNS overrides the terminal, and helps where the terminal does not know its width.
        let set_width = std::env::var("COLUMNS")
            .ok()
            .and_then(|columns| columns.parse().ok())
            .filter(|columns| *columns > 0);
        let columns =
            set_width.or_else(|| terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)));
        Self {
            token: std::env::var("BREAKERD_TOKEN").ok().filter(|token| !token.is_empty()),
            ca: set("BREAKERD_CA").map(PathBuf::from),
            cert: set("BREAKERD_CERT").map(PathBuf::from),
            key: set("BREAKERD_KEY").map(PathBuf::from),
            supports_color: is_terminal
                && set("NO_COLOR").is_none()
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            columns: columns.filter(|_| is_terminal),
        }
    }
}

/// Where a command writes.
pub(super) struct Screen<'a> {
    /// The answer.
    pub(super) out: &'a mut dyn Write,
    /// What is not the answer: notes, errors.
    pub(super) err: &'a mut dyn Write,
    /// The most columns of a table; none: it is read by a program, and nothing is cut.
    pub(super) columns: Option<usize>,
    color: bool,
    json: Option<Json>,
}

impl<'a> Screen<'a> {
    pub(super) fn new(
        out: &'a mut dyn Write,
        err: &'a mut dyn Write,
        environment: &Environment,
        color: Color,
        json: bool,
    ) -> Self {
        let color = match color {
            Color::Auto => environment.supports_color,
            Color::Always => true,
            Color::Never => false,
        };
        Self { out, err, columns: environment.columns, color, json: json.then(Json::new) }
    }

    /// Whether the output is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Writes one response as JSON if JSON was requested; else returns false.
    ///
    /// `name` is the message's in the package `breakerd.v1`.
    pub(super) fn object(&mut self, name: &str, message: &impl Message) -> io::Result<bool> {
        match &self.json {
            Some(json) => json.object(&mut self.out, name, message).map(|()| true),
            None => Ok(false),
        }
    }

    /// As [`Self::object`], on a line of its own: one of many.
    pub(super) fn line(&mut self, name: &str, message: &impl Message) -> io::Result<bool> {
        match &self.json {
            Some(json) => json.line(&mut self.out, name, message).map(|()| true),
            None => Ok(false),
        }
    }

    /// Writes a note to stderr. An error is ignored: there is nowhere to report it.
    pub(super) fn note(&mut self, text: &str) {
        let _ = writeln!(self.err, "{text}");
    }

    /// `text` in `style`, where there are colours.
    pub(super) fn painted(&self, text: &str, style: Style) -> String {
        if !self.color || style == Style::new() {
            return text.to_owned();
        }
        format!("{style}{text}{style:#}")
    }
}

/// The colour of a state: OPEN is red, HALF_OPEN yellow, an override magenta, CLOSED has none.
pub(super) fn style_of(state: i32) -> Style {
    let color = match State::try_from(state) {
        Ok(State::Open) => AnsiColor::Red,
        Ok(State::HalfOpen) => AnsiColor::Yellow,
        Ok(State::ForcedOpen | State::Disabled | State::MetricsOnly) => AnsiColor::Magenta,
        Ok(State::Closed | State::Unspecified) | Err(_) => return Style::new(),
    };
    color.on_default()
}
