-- Whether a route works, as all workers together have found out.

CREATE TABLE route_health (
    route_id         uuid PRIMARY KEY REFERENCES routes (id) ON DELETE CASCADE,
    state            text NOT NULL DEFAULT 'closed' CHECK (state IN ('closed', 'open', 'half_open')),
    since            timestamptz NOT NULL DEFAULT now(),
    openings         integer NOT NULL DEFAULT 0,
    retry_at         timestamptz,
    failures         bigint NOT NULL DEFAULT 0,
    last_error       text,
    last_failure_at  timestamptz,
    last_success_at  timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT route_health_retry CHECK ((state = 'closed') = (retry_at IS NULL))
);
COMMENT ON TABLE route_health IS 'The circuit breaker of a route. closed: it is used; open: nobody uses it; half_open: one connection of one worker tries it. No row: closed.';
COMMENT ON COLUMN route_health.openings IS 'Openings since it last carried a message: each doubles the pause.';
COMMENT ON COLUMN route_health.retry_at IS 'open: a probe may begin. half_open: the probe has taken too long, another may begin.';
COMMENT ON COLUMN route_health.failures IS 'Since it last carried a message.';
COMMENT ON COLUMN route_health.last_success_at IS 'A message was carried, or a probe or a check went well; written every few seconds.';
