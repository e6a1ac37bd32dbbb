-- One text for SQLite and PostgreSQL. BYTEA holds what has to be compared
-- byte by byte whatever the database's collation; to SQLite it is a blob.
-- Times are microseconds since 1970.

-- +goose Up
CREATE TABLE products (
    id          TEXT    NOT NULL PRIMARY KEY,
    seller      TEXT    NOT NULL,
    title       TEXT    NOT NULL,
    title_key   BYTEA   NOT NULL,
    description TEXT    NOT NULL,
    currency    TEXT    NOT NULL,
    amount      BIGINT  NOT NULL,
    daw         INTEGER NOT NULL,
    tempo       INTEGER NOT NULL,
    created     BIGINT  NOT NULL,
    updated     BIGINT  NOT NULL,
    version     BIGINT  NOT NULL
);

-- Every order there is, over all products and over those of one workstation:
-- a page is then a walk along an index, however many products there are.
CREATE INDEX products_by_created ON products (created, id);
CREATE INDEX products_by_updated ON products (updated, id);
CREATE INDEX products_by_title ON products (title_key, id);
CREATE INDEX products_by_amount ON products (amount, id);
CREATE INDEX products_by_daw_created ON products (daw, created, id);
CREATE INDEX products_by_daw_updated ON products (daw, updated, id);
CREATE INDEX products_by_daw_title ON products (daw, title_key, id);
CREATE INDEX products_by_daw_amount ON products (daw, amount, id);
-- A seller's products are few enough to be sorted.
CREATE INDEX products_by_seller ON products (seller, created, id);

-- The words of the titles, in the default order.
CREATE TABLE product_words (
    word    BYTEA  NOT NULL,
    created BIGINT NOT NULL,
    id      TEXT   NOT NULL,
    PRIMARY KEY (word, created, id)
);
CREATE INDEX product_words_by_product ON product_words (id, word);

-- What happened, for those who watch. Sequence has no gaps, and its order is
-- that of the commits: each writer takes its number from catalog_state, whose
-- one row it holds locked until it commits.
CREATE TABLE product_changes (
    sequence BIGINT  NOT NULL PRIMARY KEY,
    kind     INTEGER NOT NULL,
    product  BYTEA   NOT NULL
);

-- Creations that may be asked for again (AIP-155).
CREATE TABLE product_requests (
    seller     TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    digest     BYTEA  NOT NULL,
    product    BYTEA  NOT NULL,
    created    BIGINT NOT NULL,
    PRIMARY KEY (seller, request_id)
);
CREATE INDEX product_requests_by_created ON product_requests (created);

CREATE TABLE catalog_state (
    id          INTEGER NOT NULL PRIMARY KEY,
    last_change BIGINT  NOT NULL,
    token_key   BYTEA
);
INSERT INTO catalog_state (id, last_change) VALUES (1, 0);

-- +goose Down
DROP TABLE catalog_state;
DROP TABLE product_requests;
DROP TABLE product_changes;
DROP TABLE product_words;
DROP TABLE products;
