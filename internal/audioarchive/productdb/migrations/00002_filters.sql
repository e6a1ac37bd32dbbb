-- What is rare in one of these is found by it, whatever the order asked for.

-- +goose Up
CREATE INDEX products_by_currency ON products (currency, id);
CREATE INDEX products_by_tempo ON products (tempo, id);

-- +goose Down
DROP INDEX products_by_tempo;
DROP INDEX products_by_currency;
