-- Text is compared byte by byte, so no index depends on the collations of the machine.
-- What is sealed does not compress, so PostgreSQL need not try.

-- +goose Up
CREATE TABLE gatehouse_sessions (
    id            BYTEA  NOT NULL PRIMARY KEY,
    issuer        TEXT   NOT NULL COLLATE "C",
    subject       TEXT   NOT NULL COLLATE "C",
    sid           TEXT   NOT NULL COLLATE "C",
    created_at    BIGINT NOT NULL,
    last_seen_at  BIGINT NOT NULL,
    idle_expires  BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    ends_at       BIGINT NOT NULL GENERATED ALWAYS AS (LEAST(idle_expires, expires_at)) STORED,
    user_agent    TEXT   NOT NULL,
    address       TEXT   NOT NULL,
    sealed        BYTEA  NOT NULL,
    fence         BIGINT NOT NULL DEFAULT 0,
    locked_until  BIGINT NOT NULL DEFAULT 0
);
ALTER TABLE gatehouse_sessions ALTER COLUMN sealed SET STORAGE EXTERNAL;
CREATE INDEX gatehouse_sessions_by_subject ON gatehouse_sessions (issuer, subject, created_at);
CREATE INDEX gatehouse_sessions_by_sid ON gatehouse_sessions (issuer, sid) WHERE sid <> '';
CREATE INDEX gatehouse_sessions_by_end ON gatehouse_sessions (ends_at);

CREATE TABLE gatehouse_session_notes (
    kind        TEXT   NOT NULL COLLATE "C",
    key         TEXT   NOT NULL COLLATE "C",
    value       BYTEA  NOT NULL,
    count       BIGINT NOT NULL DEFAULT 0,
    due_at      BIGINT NOT NULL DEFAULT 0,
    expires_at  BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);
CREATE INDEX gatehouse_session_notes_by_due ON gatehouse_session_notes (kind, due_at) WHERE due_at > 0;
CREATE INDEX gatehouse_session_notes_by_end ON gatehouse_session_notes (expires_at);

-- +goose Down
DROP TABLE gatehouse_session_notes;
DROP TABLE gatehouse_sessions;
