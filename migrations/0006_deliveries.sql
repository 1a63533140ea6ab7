-- The ledger: one row per (campaign, recipient). The primary key is the fence against sending twice.

CREATE TABLE deliveries (
    campaign_id       uuid NOT NULL,
    contact_id        uuid NOT NULL,
    chunk_id          uuid NOT NULL,
    lease_epoch       bigint NOT NULL,
    attempt_id        bigint NOT NULL,
    state             text NOT NULL CHECK (state IN
                        ('sending', 'accepted', 'bounced', 'failed', 'suppressed', 'cancelled', 'unknown', 'deferred')),
    attempts          smallint NOT NULL DEFAULT 0,
    smtp_code         smallint,
    recipient         text NOT NULL,
    domain            text NOT NULL,
    enhanced_code     text,
    reason            text,
    response          text,
    route_id          uuid,
    first_attempt_at  timestamptz,
    last_attempt_at   timestamptz,
    next_attempt_at   timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, contact_id)
) PARTITION BY RANGE (campaign_id);
COMMENT ON TABLE deliveries IS 'A recipient of a frozen audience without a row is pending. No foreign keys: the audience outlives its contacts.';
COMMENT ON COLUMN deliveries.chunk_id IS 'The chunk that carries it now.';
COMMENT ON COLUMN deliveries.lease_epoch IS 'Epoch of the run that admitted it; a row that is sending under an older epoch is in doubt.';
COMMENT ON COLUMN deliveries.attempt_id IS 'Random per admission: an outcome must name it.';
COMMENT ON COLUMN deliveries.state IS 'sending: in flight. unknown: in doubt, the process died or the server never answered the final dot.';
COMMENT ON COLUMN deliveries.next_attempt_at IS 'Set while a deferred row waits for the sweeper; null once it is in a new chunk.';
COMMENT ON COLUMN deliveries.reason IS 'Why, in one of our words: expired, internal, unsubscribed, suppressed, rejected, rendering ….';

-- No index names state: an outcome then is a heap-only update. next_attempt_at changes for the deferred alone.
CREATE INDEX deliveries_due ON deliveries (campaign_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE deliveries_rest PARTITION OF deliveries DEFAULT WITH (fillfactor = 60);

-- A uuid v7 begins with its time in milliseconds: the lowest one of a moment bounds a partition.
CREATE FUNCTION uuid_floor(moment timestamptz) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM moment) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;

CREATE FUNCTION ensure_delivery_partitions(p_from timestamptz, p_months integer) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
    v_month timestamptz := date_trunc('month', p_from, 'UTC');
    v_name text;
    v_made integer := 0;
BEGIN
    FOR i IN 1..p_months LOOP
        v_name := 'deliveries_' || to_char(v_month AT TIME ZONE 'UTC', 'YYYY_MM');
        IF to_regclass(v_name) IS NULL THEN
            EXECUTE format('CREATE TABLE %I PARTITION OF deliveries FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 60)',
                           v_name, uuid_floor(v_month), uuid_floor(v_month + interval '1 month'));
            v_made := v_made + 1;
        END IF;
        v_month := v_month + interval '1 month';
    END LOOP;
    RETURN v_made;
END $$;
COMMENT ON FUNCTION ensure_delivery_partitions IS 'Months that have no partition yet get one; rows of a month without one lie in deliveries_rest.';
SELECT ensure_delivery_partitions(now(), 3);
