-- The file of a product is part of it. What orders and files refer to by id
-- outlives the product, so there are no foreign keys.

-- +goose Up
ALTER TABLE products ADD COLUMN file_key TEXT NOT NULL DEFAULT '';
ALTER TABLE products ADD COLUMN file_name TEXT NOT NULL DEFAULT '';
ALTER TABLE products ADD COLUMN file_type TEXT NOT NULL DEFAULT '';
ALTER TABLE products ADD COLUMN file_size BIGINT NOT NULL DEFAULT 0;
ALTER TABLE products ADD COLUMN file_sha256 TEXT NOT NULL DEFAULT '';
ALTER TABLE products ADD COLUMN file_uploaded BIGINT NOT NULL DEFAULT 0;

-- The files of deleted products that have buyers.
CREATE TABLE kept_files (
    product       TEXT   NOT NULL PRIMARY KEY,
    seller        TEXT   NOT NULL,
    file_key      TEXT   NOT NULL,
    file_name     TEXT   NOT NULL,
    file_type     TEXT   NOT NULL,
    file_size     BIGINT NOT NULL,
    file_sha256   TEXT   NOT NULL,
    file_uploaded BIGINT NOT NULL
);

-- Stored files that no product has: uploads under way, and what was replaced
-- or deleted. After due they are removed, doomed ones without a way back.
CREATE TABLE stale_files (
    file_key TEXT    NOT NULL PRIMARY KEY,
    due      BIGINT  NOT NULL,
    doomed   INTEGER NOT NULL
);
CREATE INDEX stale_files_by_due ON stale_files (due);

CREATE TABLE orders (
    id       TEXT   NOT NULL PRIMARY KEY,
    buyer    TEXT   NOT NULL,
    product  TEXT   NOT NULL,
    title    TEXT   NOT NULL,
    seller   TEXT   NOT NULL,
    currency TEXT   NOT NULL,
    amount   BIGINT NOT NULL,
    created  BIGINT NOT NULL,
    UNIQUE (buyer, product)
);
CREATE INDEX orders_by_buyer ON orders (buyer, created, id);
CREATE INDEX orders_by_product ON orders (product);

-- +goose Down
DROP TABLE orders;
DROP TABLE stale_files;
DROP TABLE kept_files;
ALTER TABLE products DROP COLUMN file_uploaded;
ALTER TABLE products DROP COLUMN file_sha256;
ALTER TABLE products DROP COLUMN file_size;
ALTER TABLE products DROP COLUMN file_type;
ALTER TABLE products DROP COLUMN file_name;
ALTER TABLE products DROP COLUMN file_key;
