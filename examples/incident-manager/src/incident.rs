//! What this program is about: incidents.

use std::fmt;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

/// How bad an incident is, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing has to be done.
    Info,
    /// Look at it in office hours.
    Warning,
    /// Users notice it.
    Error,
    /// Users cannot work.
    Critical,
}

impl Severity {
    /// As it is written in JSON, in the store and by PagerDuty.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }

    /// The reverse of [`Severity::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Info, Self::Warning, Self::Error, Self::Critical].into_iter().find(|one| one.as_str() == text)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a client of this program reports.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewIncident {
    /// To be able to repeat the report: an incident with the same id is replaced. Chosen if absent.
    #[serde(default)]
    pub id: Option<Uuid>,
    /// One line.
    pub title: String,
    /// Any text.
    #[serde(default)]
    pub description: String,
    /// The system that it happened in.
    pub source: String,
    /// How bad it is.
    pub severity: Severity,
}

/// What Sentinel makes of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// How unusual it is, 0 to 1.
    pub score: f64,
    /// How bad Sentinel thinks that it is.
    pub severity: Severity,
    /// One paragraph.
    pub summary: String,
}

/// An alert that Sentinel knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Sentinel's id.
    pub id: String,
    /// One line.
    pub title: String,
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Unique, and increasing with time.
    pub id: Uuid,
    /// One line.
    pub title: String,
    /// Any text.
    pub description: String,
    /// The system that it happened in.
    pub source: String,
    /// As reported. Sentinel's opinion is in `analysis`.
    pub severity: Severity,
    /// When it was reported, in UTC.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Absent if Sentinel was not available.
    pub analysis: Option<Analysis>,
    /// Empty also if Sentinel was not available.
    pub related_alerts: Vec<Alert>,
}

impl Incident {
    /// Checks a report and makes an incident of it.
    ///
    /// # Errors
    /// What is wrong with the report, for its author.
    pub fn from_report(report: NewIncident, now: OffsetDateTime) -> Result<Self, String> {
        check_line("title", &report.title)?;
        check_line("source", &report.source)?;
        if report.description.contains('\0') {
            return Err("description: must not contain NUL".to_owned());
        }
        // A store keeps what it was given: to the microsecond.
        let created_at = now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now);
        Ok(Self {
            id: report.id.unwrap_or_else(Uuid::now_v7),
            title: report.title,
            description: report.description,
            source: report.source,
            severity: report.severity,
            created_at,
            analysis: None,
            related_alerts: Vec::new(),
        })
    }
}

/// It becomes the subject of an email and the summary of a page.
fn check_line(field: &str, line: &str) -> Result<(), String> {
    const CHARACTERS_MAX: usize = 200;
    let count = line.chars().count();
    if line.trim().is_empty() || count > CHARACTERS_MAX {
        return Err(format!("{field}: invalid length {count}: must be 1 to {CHARACTERS_MAX} characters"));
    }
    if line.chars().any(char::is_control) {
        return Err(format!("{field}: must be one line without control characters"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(title: &str, source: &str) -> NewIncident {
        NewIncident {
            id: None,
            title: title.to_owned(),
            description: String::new(),
            source: source.to_owned(),
            severity: Severity::Error,
        }
    }

    #[test]
    fn a_report_with_a_wrong_line_is_refused_by_name() {
        let error = |title, source| {
            Incident::from_report(report(title, source), OffsetDateTime::UNIX_EPOCH).unwrap_err()
        };
        assert_eq!(error(" ", "api"), "title: invalid length 1: must be 1 to 200 characters");
        assert_eq!(
            error("slow\r\nBcc: everybody", "api"),
            "title: must be one line without control characters"
        );
        assert_eq!(
            error("slow", &"x".repeat(201)),
            "source: invalid length 201: must be 1 to 200 characters"
        );
    }

    #[test]
    fn a_repeated_report_keeps_its_id() {
        let id = Uuid::now_v7();
        let again = NewIncident { id: Some(id), ..report("slow", "api") };
        assert_eq!(Incident::from_report(again, OffsetDateTime::UNIX_EPOCH).unwrap().id, id);
    }

    #[test]
    fn severities_are_written_in_one_way() {
        for severity in [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical] {
            assert_eq!(serde_json::to_value(severity).unwrap(), severity.as_str());
            assert_eq!(Severity::parse(severity.as_str()), Some(severity));
        }
    }
}
