-- What an operator holds, what a restored copy must not do, and the trace of a job.

-- A copy of this database, however it was made, must not send to people again. One row says which database we are; whatever
-- makes a copy changes at least one of its four marks:
--   pg_dump, whole or data only, into any database, also with --clean into the same one   the transaction that wrote the row
--   CREATE DATABASE … TEMPLATE                                                            the database's oid
--   another cluster, pg_upgrade                                                           the system identifier
--   recovery to a point in time, a standby that was promoted                              the timeline
-- A plain restart changes none. A copy of the data folder or of its volume that is started in place of the original changes none either.
CREATE TABLE installation (
    id                 smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    system_identifier  bigint NOT NULL,
    database_oid       bigint NOT NULL,
    timeline           integer NOT NULL,
    written_by         bigint NOT NULL,
    created_at         timestamptz NOT NULL DEFAULT now(),
    updated_at         timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE installation IS 'The database that a person has last said is the one that sends: by migrating it first, or by confirm-restore.';
COMMENT ON COLUMN installation.written_by IS 'The transaction that wrote this row, modulo 2^32: the row''s xmin, unless the row was loaded from a dump.';

CREATE FUNCTION database_timeline() RETURNS integer LANGUAGE sql STABLE AS $$
    -- The first eight digits of a WAL file's name. The control file would be behind until the checkpoint after a promotion.
    SELECT CASE WHEN NOT pg_is_in_recovery() THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer END
$$;

CREATE FUNCTION confirm_installation() RETURNS void LANGUAGE sql VOLATILE AS $$
    INSERT INTO installation (system_identifier, database_oid, timeline, written_by)
    SELECT s.system_identifier, d.oid::bigint, database_timeline(), pg_current_xact_id()::text::bigint % 4294967296
    FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
    ON CONFLICT (id) DO UPDATE SET system_identifier = excluded.system_identifier, database_oid = excluded.database_oid,
        timeline = excluded.timeline, written_by = excluded.written_by, updated_at = now()
$$;

CREATE FUNCTION installation_is_known() RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (
        SELECT 1 FROM installation i, pg_control_system() s, pg_database d
        WHERE d.datname = current_database() AND i.system_identifier = s.system_identifier AND i.database_oid = d.oid::bigint
          AND i.timeline = database_timeline() AND i.written_by = i.xmin::text::bigint)
$$;

CREATE TABLE sending_switch (
    id          smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    scope       text NOT NULL DEFAULT 'campaigns' CHECK (scope IN ('campaigns', 'everything')),
    reason      text CHECK (length(reason) <= 500),
    paused_at   timestamptz,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE sending_switch IS 'One row: whether an operator holds all sending back, over all workers.';
COMMENT ON COLUMN sending_switch.scope IS 'campaigns: account mail and tests still go out; everything: they do not.';
INSERT INTO sending_switch DEFAULT VALUES;

-- Null: everything may be sent.
CREATE FUNCTION sending_hold() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN NOT installation_is_known() THEN 'restored'
                ELSE (SELECT scope FROM sending_switch WHERE paused_at IS NOT NULL) END
$$;
COMMENT ON FUNCTION sending_hold IS 'restored: nothing leaves the house until a person confirms; everything, campaigns: an operator''s pause.';

CREATE FUNCTION job_is_held(p_hold text, p_lane text, p_kind text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_hold
        WHEN 'restored' THEN p_lane IN ('critical', 'bulk', 'sync', 'webhooks')
        WHEN 'everything' THEN p_lane = 'critical' OR p_kind = 'SendChunk'
        WHEN 'campaigns' THEN p_kind = 'SendChunk'
        ELSE false END
$$;

ALTER TABLE jobs ADD COLUMN trace text;
COMMENT ON COLUMN jobs.trace IS 'W3C traceparent of what enqueued it, where traces are on.';

-- As in 0002, and not what is held.
CREATE OR REPLACE FUNCTION claim_job(p_lane text, p_owner uuid, p_lease interval, p_destination_cap integer, p_hint uuid)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
    v_flow text;
    v_workspace text;
    v_cost integer;
    v_workspace_start bigint;
    v_flow_start bigint;
    v_hold text := sending_hold();
BEGIN
    IF p_hint IS NOT NULL THEN
        SELECT id INTO v_id FROM jobs
        WHERE id = p_hint AND lane = p_lane AND state = 'queued' AND NOT job_is_held(v_hold, lane, kind) FOR UPDATE SKIP LOCKED;
    END IF;

    IF v_id IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('mochila.claim.' || p_lane, 0));

        WITH RECURSIVE pairs AS (
            (SELECT flow, destination FROM jobs WHERE lane = p_lane AND state = 'queued' ORDER BY flow, destination LIMIT 1)
            UNION ALL
            SELECT next.flow, next.destination FROM pairs CROSS JOIN LATERAL (
                SELECT j.flow, j.destination FROM jobs j
                WHERE j.lane = p_lane AND j.state = 'queued' AND (j.flow, j.destination) > (pairs.flow, pairs.destination)
                ORDER BY j.flow, j.destination LIMIT 1) next
        )
        SELECT head.id, head.flow, 'workspace ' || coalesce(head.workspace_id::text, ''), head.cost,
               start.workspace, start.flow
        INTO v_id, v_flow, v_workspace, v_cost, v_workspace_start, v_flow_start
        FROM pairs
        LEFT JOIN destinations d ON d.domain = pairs.destination
        CROSS JOIN LATERAL (
            SELECT j.* FROM jobs j
            WHERE j.lane = p_lane AND j.state = 'queued' AND j.flow = pairs.flow AND j.destination = pairs.destination
            ORDER BY j.priority DESC, j.run_at, j.id LIMIT 1
        ) head
        LEFT JOIN campaigns c ON c.id = head.campaign_id
        LEFT JOIN job_flows root ON root.lane = p_lane AND root.flow = ''
        LEFT JOIN job_flows w ON w.lane = p_lane AND w.flow = 'workspace ' || coalesce(head.workspace_id::text, '')
        LEFT JOIN job_flows f ON f.lane = p_lane AND f.flow = head.flow
        CROSS JOIN LATERAL (SELECT greatest(w.served, root.virtual_time, 0) AS workspace,
                                   greatest(f.served, w.virtual_time, 0) AS flow) start
        WHERE c.state IS DISTINCT FROM 'paused'
          AND NOT job_is_held(v_hold, p_lane, head.kind)
          AND coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') <= now()
          AND (pairs.destination = '' OR p_destination_cap > (
                SELECT count(*) FROM jobs r
                WHERE r.state = 'running' AND r.lane = p_lane AND r.destination = pairs.destination))
        ORDER BY start.workspace, start.flow, head.priority DESC, head.run_at, head.id
        LIMIT 1;
        IF v_id IS NULL THEN
            RETURN;
        END IF;

        -- Whoever is changing the job now (a cancellation) holds it: do not wait for it with the lane's lock in hand.
        PERFORM 1 FROM jobs WHERE id = v_id AND state = 'queued' FOR UPDATE SKIP LOCKED;
        IF NOT FOUND THEN
            RETURN;
        END IF;

        INSERT INTO job_flows AS f (lane, flow, served, virtual_time) VALUES
            (p_lane, '', 0, v_workspace_start),
            (p_lane, v_workspace, v_workspace_start + v_cost, v_flow_start),
            (p_lane, v_flow, v_flow_start + v_cost, 0)
        ON CONFLICT (lane, flow) DO UPDATE
            SET served = excluded.served, virtual_time = excluded.virtual_time, updated_at = now();
    END IF;

    RETURN QUERY
    UPDATE jobs SET state = 'running', lease_owner = p_owner, lease_until = clock_timestamp() + p_lease,
        lease_epoch = lease_epoch + 1, deliveries = deliveries + 1,
        started_at = coalesce(started_at, now()), updated_at = now()
    WHERE id = v_id AND state = 'queued'
    RETURNING *;

    INSERT INTO job_attempts (job_id, lease_epoch, worker_id)
    SELECT id, lease_epoch, p_owner FROM jobs WHERE id = v_id AND lease_owner = p_owner
    ON CONFLICT DO NOTHING;
END $$;
