-- The queue. PostgreSQL is the truth; a ticket in Redis only says "this lane has work".

-- A uuid v7 as the programs make them: time first, so that ids sort by age.
CREATE FUNCTION uuid_v7() RETURNS uuid LANGUAGE sql VOLATILE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0') || '7'
            || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;

CREATE TABLE jobs (
    id                   uuid PRIMARY KEY,
    workspace_id         uuid REFERENCES workspaces (id) ON DELETE CASCADE,
    kind                 text NOT NULL,
    lane                 text NOT NULL CHECK (lane IN ('critical', 'bulk', 'imports', 'leads', 'reports', 'sync', 'webhooks', 'maintenance')),
    flow                 text NOT NULL,
    campaign_id          uuid,
    destination          text NOT NULL DEFAULT '',
    priority             smallint NOT NULL DEFAULT 0,
    cost                 integer NOT NULL DEFAULT 1 CHECK (cost > 0),
    state                text NOT NULL CHECK (state IN ('scheduled', 'queued', 'running', 'succeeded', 'failed', 'cancelled', 'dead')),
    run_at               timestamptz NOT NULL DEFAULT now(),
    payload              jsonb NOT NULL,
    attempt              integer NOT NULL DEFAULT 0,
    max_attempts         integer NOT NULL DEFAULT 3 CHECK (max_attempts > 0),
    deliveries           integer NOT NULL DEFAULT 0,
    lease_owner          uuid,
    lease_until          timestamptz,
    lease_epoch          bigint NOT NULL DEFAULT 0,
    cancel_requested_at  timestamptz,
    unique_key           text,
    parent_id            uuid REFERENCES jobs (id) ON DELETE SET NULL,
    progress_done        bigint NOT NULL DEFAULT 0,
    progress_total       bigint,
    result               jsonb,
    last_error           text,
    created_at           timestamptz NOT NULL DEFAULT now(),
    updated_at           timestamptz NOT NULL DEFAULT now(),
    started_at           timestamptz,
    finished_at          timestamptz,
    CONSTRAINT jobs_lease CHECK ((state = 'running') = (lease_owner IS NOT NULL AND lease_until IS NOT NULL)),
    CONSTRAINT jobs_finished CHECK ((state IN ('succeeded', 'failed', 'cancelled', 'dead')) = (finished_at IS NOT NULL))
) WITH (fillfactor = 80);
COMMENT ON TABLE jobs IS 'scheduled -> queued -> running -> succeeded | failed | cancelled | dead; a retry or a yield goes back with a later run_at.';
COMMENT ON COLUMN jobs.flow IS 'What fairness turns on inside a workspace: a campaign, or the kind of job.';
COMMENT ON COLUMN jobs.campaign_id IS 'The campaign whose pause holds this job back, if any.';
COMMENT ON COLUMN jobs.destination IS 'The one destination of a chunk; empty where it is mixed. A cooling or full destination holds the job back.';
COMMENT ON COLUMN jobs.cost IS 'What a run takes from its flow''s share: the number of recipients of a chunk.';
COMMENT ON COLUMN jobs.deliveries IS 'Claims since the last progress. Three in a row without any make the job dead: poison.';
COMMENT ON COLUMN jobs.lease_epoch IS 'The fence: grows with every claim, and every later write of a run names the value that it was given.';

-- The claim walks the distinct (flow, destination) pairs, then takes the best job of one.
CREATE INDEX jobs_ready ON jobs (lane, flow, destination, priority DESC, run_at, id) WHERE state = 'queued';
CREATE INDEX jobs_due ON jobs (run_at) WHERE state = 'scheduled';
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_running_destination ON jobs (lane, destination) WHERE state = 'running';
CREATE INDEX jobs_dead ON jobs (lane) WHERE state = 'dead';
CREATE INDEX jobs_campaign ON jobs (campaign_id, state) WHERE campaign_id IS NOT NULL;
CREATE INDEX jobs_workspace ON jobs (workspace_id, id DESC);
CREATE INDEX jobs_finished_at ON jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX jobs_parent ON jobs (parent_id) WHERE parent_id IS NOT NULL;
CREATE UNIQUE INDEX jobs_unique_key ON jobs (kind, unique_key) WHERE unique_key IS NOT NULL AND state IN ('scheduled', 'queued', 'running');

CREATE TABLE job_attempts (
    job_id       uuid NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    lease_epoch  bigint NOT NULL,
    worker_id    uuid NOT NULL,
    outcome      text CHECK (outcome IN ('succeeded', 'retried', 'snoozed', 'failed', 'cancelled', 'dead', 'lost')),
    error        text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, lease_epoch)
);
COMMENT ON COLUMN job_attempts.outcome IS 'Null while it runs; lost: its lease ran out.';

-- Start-time fair queueing, which is deficit round robin without the rounds: whoever has had least is next. Two levels,
-- so that a workspace with many campaigns gets no more than one with a single campaign: the row of a lane (flow '') knows
-- how far its workspaces are, the row of a workspace how far its flows are.
CREATE TABLE job_flows (
    lane          text NOT NULL,
    flow          text NOT NULL,
    served        bigint NOT NULL DEFAULT 0,
    virtual_time  bigint NOT NULL DEFAULT 0,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (lane, flow)
);
COMMENT ON COLUMN job_flows.served IS 'What this flow has cost so far, in recipients.';
COMMENT ON COLUMN job_flows.virtual_time IS 'Where the child served last began; a child that was idle starts there, so that it cannot hoard.';

CREATE TABLE workers (
    id          uuid PRIMARY KEY,
    host        text NOT NULL,
    pid         integer NOT NULL,
    slots       jsonb NOT NULL,
    seen_at     timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN workers.slots IS 'Lane to number of jobs that it runs at once: {"bulk": 8}.';
CREATE INDEX workers_seen ON workers (seen_at);

CREATE TABLE destinations (
    domain            text PRIMARY KEY CHECK (domain = lower(domain)),
    rate_per_second   double precision CHECK (rate_per_second > 0),
    max_connections   integer CHECK (max_connections > 0),
    adaptive_rate     double precision CHECK (adaptive_rate > 0),
    cooldown_until    timestamptz,
    suspended_until   timestamptz,
    reason            text,
    last_reply        text,
    slowed_at         timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE destinations IS 'A recipient domain that has limits, is being slowed down or is suspended. A domain without a row is unlimited.';
COMMENT ON COLUMN destinations.rate_per_second IS 'Set by an operator.';
COMMENT ON COLUMN destinations.adaptive_rate IS 'Set by the replies: cut in half by 421/450/451/452/454, raised by success, null when recovered.';

-- Whether anything holds for the destination now; a row stays when it does no more.
CREATE FUNCTION is_limited(d destinations) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT d.rate_per_second IS NOT NULL OR d.max_connections IS NOT NULL OR d.adaptive_rate IS NOT NULL
        OR coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') > now()
$$;

CREATE TABLE destination_hours (
    domain      text NOT NULL,
    hour        timestamptz NOT NULL,
    accepted    bigint NOT NULL DEFAULT 0,
    deferred    bigint NOT NULL DEFAULT 0,
    failed      bigint NOT NULL DEFAULT 0,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (domain, hour)
);
COMMENT ON TABLE destination_hours IS 'Replies per destination and hour (UTC).';

-- The claim is a function because each statement in it sees what was committed when the lane's lock was taken: a single
-- statement would count running chunks in the snapshot from before the wait, and the cap would leak. One round trip, so a
-- worker that is stopped half-way (SIGSTOP) never holds the lock.
CREATE FUNCTION claim_job(p_lane text, p_owner uuid, p_lease interval, p_destination_cap integer, p_hint uuid)
RETURNS SETOF jobs LANGUAGE plpgsql AS $$
DECLARE
    v_id uuid;
    v_flow text;
    v_workspace text;
    v_cost integer;
    v_workspace_start bigint;
    v_flow_start bigint;
BEGIN
    IF p_hint IS NOT NULL THEN
        SELECT id INTO v_id FROM jobs WHERE id = p_hint AND lane = p_lane AND state = 'queued' FOR UPDATE SKIP LOCKED;
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
