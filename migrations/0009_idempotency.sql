-- What was asked for under an Idempotency-Key, and what was answered.

CREATE TABLE idempotency_keys (
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key          text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    operation    text NOT NULL,
    body_hash    bytea,
    owner        uuid NOT NULL,
    lease_until  timestamptz,
    reserved     uuid NOT NULL,
    status       smallint,
    headers      jsonb,
    body         bytea,
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key),
    CONSTRAINT idempotency_keys_answered CHECK ((status IS NULL) = (lease_until IS NOT NULL))
);
COMMENT ON COLUMN idempotency_keys.operation IS 'Method, path with query, workspace and media type: another one under the same key is refused.';
COMMENT ON COLUMN idempotency_keys.body_hash IS 'SHA-256 of the body; of an upload without its boundary, and null until it was read.';
COMMENT ON COLUMN idempotency_keys.owner IS 'The run that works on it; renews the lease while it does.';
COMMENT ON COLUMN idempotency_keys.reserved IS 'The id that the run gives to what it makes: the next run after a crash finds it again.';
COMMENT ON COLUMN idempotency_keys.status IS 'Null while it runs; only answers of success are kept.';
CREATE INDEX idempotency_keys_expiry ON idempotency_keys (expires_at);
