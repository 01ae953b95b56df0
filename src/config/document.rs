//! A file's text, its tables, and the errors found in them.

use std::ops::Range;
use std::sync::Arc;

use breakerd_common::value::InvalidValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Fault, Position, SourceLocation};

/// A table, with the locations of its keys and values.
pub(super) type Table<'a> = DeTable<'a>;
/// A value, with its location.
pub(super) type Item<'a> = Spanned<DeValue<'a>>;

/// The most errors that are listed: a report has a bound, and more of them usually have one cause.
const ERRORS_MAX: usize = 100;
/// Behind so many bytes of a line a column counts bytes: in a file of one line, counting characters anew for each key
/// would take the square of its length.
const COLUMN_MAX: usize = 4_096;
/// The most characters of a value that an error shows.
const SHOWN_MAX: usize = 60;

/// Finds the line of a byte of the text, and collects the errors of the text.
pub(super) struct Document<'a> {
    path: Arc<str>,
    text: &'a str,
    /// Where each line starts.
    lines: Vec<usize>,
    errors: Vec<Error>,
    /// Those beyond `ERRORS_MAX`.
    more: usize,
}

impl<'a> Document<'a> {
    pub(super) fn new(path: &str, text: &'a str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { path: path.into(), text, lines, errors: Vec::new(), more: 0 }
    }

    /// The tables of the text. Empty when it is no TOML, which is then among the errors.
    pub(super) fn tables(&mut self) -> Table<'a> {
        let (table, faults) = DeTable::parse_recoverable(self.text);
        if faults.is_empty() {
            return table.into_inner();
        }
        // After one fault the parser guesses: its next errors about the same line are noise, and what it made
        // of the rest is not what was meant.
        let mut last_line = 0;
        for fault in faults {
            let span = fault.span().unwrap_or(0..0);
            let line = self.line(span.start);
            if line != last_line {
                last_line = line;
                let location = self.at(span);
                self.error(location, Fault::Syntax(fault.message().trim().to_owned()));
            }
        }
        Table::new()
    }

    pub(super) fn at(&self, span: Range<usize>) -> SourceLocation {
        let start = span.start.min(self.text.len());
        let line = self.line(start);
        let line_start = self.lines[line - 1];
        let before = match start - line_start {
            bytes if bytes > COLUMN_MAX => bytes,
            _ => self.text.get(line_start..start).map_or(0, |before| before.chars().count()),
        };
        SourceLocation::File { path: Arc::clone(&self.path), at: Some(Position { line, column: before + 1 }) }
    }

    /// The line of a byte, from 1.
    fn line(&self, byte: usize) -> usize {
        self.lines.partition_point(|line| *line <= byte)
    }

    pub(super) fn file_location(&self) -> SourceLocation {
        SourceLocation::File { path: Arc::clone(&self.path), at: None }
    }

    pub(super) fn error(&mut self, location: SourceLocation, fault: Fault) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(Error { location, fault });
        } else {
            self.more += 1;
        }
    }

    pub(super) fn invalid_value(
        &mut self,
        key: String,
        item: &Item<'_>,
        expected: String,
        invalid: InvalidValue,
    ) {
        let value = self.written(item);
        self.invalid_shown_value(key, item, value, expected, invalid);
    }

    /// As [`Document::invalid_value`], for a value that is not shown as it is written.
    pub(super) fn invalid_shown_value(
        &mut self,
        key: String,
        item: &Item<'_>,
        value: String,
        expected: String,
        invalid: InvalidValue,
    ) {
        let location = self.at(item.span());
        self.error(location, Fault::Value { key, value, expected, hint: invalid.hint });
    }

    /// `hint` is called for errors that are listed only: finding the nearest name is not cheap.
    pub(super) fn unknown(
        &mut self,
        table: &str,
        key: &Spanned<impl AsRef<str>>,
        hint: impl FnOnce() -> Option<String>,
    ) {
        let location = self.at(key.span());
        let hint = if self.errors.len() < ERRORS_MAX { hint() } else { None };
        let key = shorten(key.get_ref().as_ref());
        self.error(location, Fault::Unknown { table: table.to_owned(), key, hint });
    }

    /// A value as written in the text, on one line and not too long.
    pub(super) fn written(&self, item: &Item<'_>) -> String {
        match item.get_ref() {
            DeValue::Table(_) => "a table".to_owned(),
            _ => shorten(self.text.get(item.span()).unwrap_or_default()),
        }
    }

    /// The table in `item`, or an error that there is none.
    pub(super) fn table<'i>(&mut self, key: &str, item: &'i Item<'a>) -> Option<&'i Table<'a>> {
        if let DeValue::Table(table) = item.get_ref() {
            return Some(table);
        }
        let invalid = InvalidValue::with_hint(format!("write [{key}] on a line of its own"));
        self.invalid_value(key.to_owned(), item, "a table".to_owned(), invalid);
        None
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The errors, in the order of the text.
    pub(super) fn into_errors(mut self) -> Vec<Error> {
        self.errors.sort_by(|a, b| a.location.cmp(&b.location));
        if self.more > 0 {
            let location = self.file_location();
            self.errors.push(Error { location, fault: Fault::More { count: self.more } });
        }
        self.errors
    }
}

/// One line of at most [`SHOWN_MAX`] characters, without control characters.
pub(super) fn shorten(text: &str) -> String {
    let mut short = String::new();
    for (count, c) in text.chars().enumerate() {
        if count == SHOWN_MAX {
            short.push_str("...");
            break;
        }
        if c.is_control() {
            short.extend(c.escape_debug());
        } else {
            short.push(c);
        }
    }
    short
}
