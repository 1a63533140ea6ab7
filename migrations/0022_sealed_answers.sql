-- What a keyed request was answered may hold a secret that is told once. It is sealed here; `body` holds what was kept before this.
ALTER TABLE idempotency_keys ADD COLUMN answer_sealed bytea;
CREATE UNIQUE INDEX idempotency_keys_reserved ON idempotency_keys (reserved);
