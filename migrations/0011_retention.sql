-- What is left of rows whose time is over.

CREATE TABLE delivery_tallies (
    campaign_id  uuid PRIMARY KEY REFERENCES campaigns (id) ON DELETE CASCADE,
    accepted     bigint NOT NULL DEFAULT 0,
    bounced      bigint NOT NULL DEFAULT 0,
    failed       bigint NOT NULL DEFAULT 0,
    suppressed   bigint NOT NULL DEFAULT 0,
    cancelled    bigint NOT NULL DEFAULT 0,
    unknown      bigint NOT NULL DEFAULT 0,
    done_at      timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE delivery_tallies IS 'Recipients whose rows retention has removed from the ledger, by their last state. It grows in the transaction that removes them, so that this and the rows that are left always add up to the audience.';
COMMENT ON COLUMN delivery_tallies.done_at IS 'No row of the campaign is left.';

ALTER TABLE imports ADD COLUMN object_removed_at timestamptz;
COMMENT ON COLUMN imports.object_removed_at IS 'The uploaded file is gone; the figures stay.';
CREATE INDEX imports_objects ON imports (finished_at) WHERE finished_at IS NOT NULL AND object_removed_at IS NULL;

-- Attempts end within minutes of their beginning, and created_at never changes: an outcome stays a heap-only update.
CREATE INDEX job_attempts_created ON job_attempts (created_at);
