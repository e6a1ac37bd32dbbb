-- +goose Up
CREATE TABLE session_notes (
    kind        TEXT    NOT NULL,
    key         TEXT    NOT NULL,
    value       BLOB    NOT NULL,
    count       INTEGER NOT NULL DEFAULT 0,
    due_at      INTEGER NOT NULL DEFAULT 0,
    expires_at  INTEGER NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE INDEX session_notes_by_due ON session_notes (kind, due_at) WHERE due_at > 0;
CREATE INDEX session_notes_by_end ON session_notes (expires_at);

-- +goose Down
DROP TABLE session_notes;
