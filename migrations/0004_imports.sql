-- Files on their way in. The row comes first, then the object, then row and job in one transaction.

CREATE TABLE imports (
    id                 uuid PRIMARY KEY,
    workspace_id       uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    target             text NOT NULL CHECK (target IN ('contacts')),
    list_id            uuid REFERENCES lists (id) ON DELETE SET NULL,
    job_id             uuid REFERENCES jobs (id) ON DELETE SET NULL,
    state              text NOT NULL CHECK (state IN ('receiving', 'queued', 'running', 'finished', 'failed', 'cancelled')),
    file_name          text NOT NULL CHECK (length(file_name) <= 255),
    object_key         text NOT NULL,
    size_bytes         bigint NOT NULL DEFAULT 0,
    bytes_done         bigint NOT NULL DEFAULT 0,
    records_done       bigint NOT NULL DEFAULT 0,
    rows_created       bigint NOT NULL DEFAULT 0,
    rows_updated       bigint NOT NULL DEFAULT 0,
    rows_duplicate     bigint NOT NULL DEFAULT 0,
    rows_invalid       bigint NOT NULL DEFAULT 0,
    failure            text,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now(),
    finished_at        timestamptz
);
COMMENT ON COLUMN imports.bytes_done IS 'Bytes of the file up to the end of the last committed part: the progress that is shown.';
COMMENT ON COLUMN imports.records_done IS 'The pointer: records of the file that are committed. It moves in the same transaction as their rows; a resume skips this many.';
COMMENT ON COLUMN imports.rows_duplicate IS 'Rows whose address stood in an earlier row of the same part.';
CREATE INDEX imports_workspace ON imports (workspace_id, id DESC);
CREATE INDEX imports_receiving ON imports (created_at) WHERE state = 'receiving';

CREATE TABLE import_errors (
    import_id   uuid NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
    line        bigint NOT NULL,
    column_name text NOT NULL DEFAULT '',
    reason      text NOT NULL,
    row         text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (import_id, line, column_name)
);
COMMENT ON COLUMN import_errors.line IS 'Line of the file on which the record starts, counted from 1.';
