-- +goose Up
CREATE TABLE sessions (
    id            BLOB    NOT NULL PRIMARY KEY,
    issuer        TEXT    NOT NULL,
    subject       TEXT    NOT NULL,
    sid           TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    idle_expires  INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    user_agent    TEXT    NOT NULL,
    address       TEXT    NOT NULL,
    sealed        BLOB    NOT NULL,
    fence         INTEGER NOT NULL DEFAULT 0,
    locked_until  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sessions_by_subject ON sessions (issuer, subject, created_at);
CREATE INDEX sessions_by_sid ON sessions (issuer, sid) WHERE sid <> '';
CREATE INDEX sessions_by_end ON sessions (min(idle_expires, expires_at));

-- +goose Down
DROP TABLE sessions;
