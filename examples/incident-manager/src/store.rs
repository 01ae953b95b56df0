//! The incident store: SQLite or Postgres, by the URL.
//!
//! sqlx's `Any` driver has what both have: texts and numbers. That is enough here, and each query stands once.

use std::time::Duration;

use async_trait::async_trait;
use breakerd_client::Breaker;
use sqlx::any::{AnyPoolOptions, AnyRow, install_default_drivers};
use sqlx::error::ErrorKind;
use sqlx::{AnyPool, Executor, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::breakers::{Guard, guard};
use crate::call_error::{CallError, shortened, within};
use crate::config::StoreConfig;
use crate::incident::{Incident, Severity};

/// Connections to the database. More calls wait for one, within their timeout.
const CONNECTIONS_MAX: u32 = 8;

/// What keeps incidents.
#[async_trait]
pub trait IncidentStore: Send + Sync {
    /// An incident, or none if no incident has this id.
    ///
    /// # Errors
    /// [`CallError`].
    async fn get_incident(&self, id: Uuid) -> Result<Option<Incident>, CallError>;

    /// Adds an incident, or replaces the one with the same id: a repeated call changes nothing.
    ///
    /// # Errors
    /// [`CallError`].
    async fn save_incident(&self, incident: &Incident) -> Result<(), CallError>;

    /// The newest incidents, newest first, at most `limit`.
    ///
    /// # Errors
    /// [`CallError`].
    async fn list_incidents(&self, limit: u32) -> Result<Vec<Incident>, CallError>;
}

/// A database.
#[derive(Debug, Clone)]
pub struct SqlStore {
    pool: AnyPool,
    timeout: Duration,
}

impl SqlStore {
    /// Prepares the database, and creates it if it is an SQLite file that does not exist.
    ///
    /// # Errors
    /// The URL is invalid, or the database does not answer.
    pub async fn connect(config: &StoreConfig) -> Result<Self, sqlx::Error> {
        install_default_drivers();
        let mut url = config.url.expose().to_owned();
        let is_sqlite = url.starts_with("sqlite:");
        if is_sqlite && !url.contains('?') {
            url.push_str("?mode=rwc"); // create the file if it does not exist
        }
        // SQLite waits for a lock on a thread that nobody can cancel: less long than we wait for the thread.
        let busy_timeout = format!("PRAGMA busy_timeout = {}", config.timeout.as_millis() / 2);
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(config.timeout)
            .after_connect(move |connection, _| {
                let busy_timeout = busy_timeout.clone();
                Box::pin(async move {
                    if is_sqlite {
                        connection.execute(sqlx::AssertSqlSafe(busy_timeout)).await?;
                        connection.execute("PRAGMA journal_mode = WAL").await?;
                    }
                    Ok(())
                })
            })
            .connect(&url)
            .await?;
        if is_sqlite {
            sqlx::migrate!("migrations/sqlite").run(&pool).await?;
        } else {
            sqlx::migrate!("migrations/postgres").run(&pool).await?;
        }
        Ok(Self { pool, timeout: config.timeout })
    }

    fn failed(&self, error: sqlx::Error) -> CallError {
        match error {
            sqlx::Error::Database(error) => {
                let code = error.code().unwrap_or_default().into_owned();
                let text = shortened(error.message());
                let is_constraint = !matches!(error.kind(), ErrorKind::Other);
                if is_constraint || is_data_error(&code) {
                    CallError::InvalidRequest { code, text }
                } else {
                    CallError::ServiceFailed { code, text, retry_after: None }
                }
            }
            // All connections are in use, or none can be made: no answer either.
            sqlx::Error::PoolTimedOut => CallError::Timeout(self.timeout),
            sqlx::Error::Protocol(text) => CallError::InvalidAnswer(shortened(&text)),
            other => CallError::Connection(other.into()),
        }
    }
}

#[async_trait]
impl IncidentStore for SqlStore {
    async fn get_incident(&self, id: Uuid) -> Result<Option<Incident>, CallError> {
        within(self.timeout, async {
            let row = sqlx::query("SELECT * FROM incident WHERE id = $1")
                .bind(id.to_string())
                .fetch_optional(&self.pool)
                .await
                .map_err(|error| self.failed(error))?;
            row.as_ref().map(incident).transpose()
        })
        .await
    }

    async fn save_incident(&self, incident: &Incident) -> Result<(), CallError> {
        let analysis = incident.analysis.as_ref().map(json).transpose()?;
        within(self.timeout, async {
            sqlx::query(
                "INSERT INTO incident (id, created_at, severity, title, description, source, analysis, related_alerts) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
                 ON CONFLICT (id) DO UPDATE SET created_at = excluded.created_at, severity = excluded.severity, \
                 title = excluded.title, description = excluded.description, source = excluded.source, analysis = excluded.analysis, \
                 related_alerts = excluded.related_alerts",
            )
            .bind(incident.id.to_string())
            .bind(written(incident.created_at))
            .bind(incident.severity.as_str())
            .bind(&incident.title)
            .bind(&incident.description)
            .bind(&incident.source)
            .bind(analysis)
            .bind(json(&incident.related_alerts)?)
            .execute(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
            Ok(())
        })
        .await
    }

    async fn list_incidents(&self, limit: u32) -> Result<Vec<Incident>, CallError> {
        within(self.timeout, async {
            let rows = sqlx::query("SELECT * FROM incident ORDER BY created_at DESC, id DESC LIMIT $1")
                .bind(i64::from(limit))
                .fetch_all(&self.pool)
                .await
                .map_err(|error| self.failed(error))?;
            rows.iter().map(incident).collect()
        })
        .await
    }
}

/// Reads a row. One that cannot be read is about this row, and not about the database.
fn incident(row: &AnyRow) -> Result<Incident, CallError> {
    let invalid = |text: String| CallError::InvalidRequest { code: "row".to_owned(), text };
    let text = |column| row.try_get::<String, _>(column).map_err(|error| invalid(error.to_string()));
    let analysis =
        row.try_get::<Option<String>, _>("analysis").map_err(|error| invalid(error.to_string()))?;
    let analysis = analysis.as_deref().map(serde_json::from_str).transpose();
    Ok(Incident {
        id: text("id")?.parse().map_err(|error: uuid::Error| invalid(format!("id: {error}")))?,
        title: text("title")?,
        description: text("description")?,
        source: text("source")?,
        severity: Severity::parse(&text("severity")?)
            .ok_or_else(|| invalid("severity: unknown".to_owned()))?,
        created_at: OffsetDateTime::parse(&text("created_at")?, &Rfc3339)
            .map_err(|error| invalid(format!("created_at: {error}")))?,
        analysis: analysis.map_err(|error| invalid(format!("analysis: {error}")))?,
        related_alerts: serde_json::from_str(&text("related_alerts")?)
            .map_err(|error| invalid(format!("related_alerts: {error}")))?,
    })
}

fn json(value: &impl serde::Serialize) -> Result<String, CallError> {
    serde_json::to_string(value)
        .map_err(|error| CallError::InvalidRequest { code: "json".to_owned(), text: error.to_string() })
}

/// RFC 3339 in UTC with six digits behind the seconds, always: texts sort as the times do.
fn written(time: OffsetDateTime) -> String {
    let time = time.to_offset(time::UtcOffset::UTC);
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    format!("{date}T{hour:02}:{minute:02}:{second:02}.{:06}Z", time.microsecond())
}

/// Values that the database cannot keep: of Postgres class 22 (data exception), of SQLite too big or of a wrong type.
fn is_data_error(code: &str) -> bool {
    code.len() == 5 && code.starts_with("22") || matches!(code, "18" | "20")
}

/// The store behind the breaker `database` / `incident-store`.
#[derive(Debug, Clone)]
pub struct CircuitBreakerStore<S = SqlStore> {
    inner: S,
    guard: Guard,
}

impl<S: IncidentStore> CircuitBreakerStore<S> {
    /// Protects `inner` with `breaker`.
    pub fn new(inner: S, breaker: &Breaker) -> Self {
        Self { inner, guard: guard(breaker) }
    }
}

#[async_trait]
impl<S: IncidentStore> IncidentStore for CircuitBreakerStore<S> {
    async fn get_incident(&self, id: Uuid) -> Result<Option<Incident>, CallError> {
        Ok(self.guard.call(self.inner.get_incident(id)).await?)
    }

    async fn save_incident(&self, incident: &Incident) -> Result<(), CallError> {
        Ok(self.guard.call(self.inner.save_incident(incident)).await?)
    }

    async fn list_incidents(&self, limit: u32) -> Result<Vec<Incident>, CallError> {
        Ok(self.guard.call(self.inner.list_incidents(limit)).await?)
    }
}
