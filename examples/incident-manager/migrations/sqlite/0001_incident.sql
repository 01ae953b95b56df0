CREATE TABLE incident (
    id TEXT PRIMARY KEY,
    created_at TEXT NOT NULL, -- RFC 3339 in UTC with microseconds, so that it sorts by time
    severity TEXT NOT NULL,
    title TEXT NOT NULL,
    description TEXT NOT NULL,
    source TEXT NOT NULL,
    analysis TEXT, -- JSON; null: Sentinel was not available
    related_alerts TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX incident_newest ON incident (created_at DESC, id DESC);
