-- Shaping: what is sent to whom how fast, beside the rules of the shaping file (deploy/shaping.default.toml).

-- A row of destinations may now stand for a provider ("provider:google") or for a route to one ("provider:google route:ID"): neither can be
-- taken for a domain, which has no colon. Programs from before this migration read such rows and never match them.
ALTER TABLE destinations
    ADD COLUMN adaptive_step double precision CHECK (adaptive_step > 0),
    ADD COLUMN adaptive_from double precision CHECK (adaptive_from > 0),
    ADD COLUMN adaptive_connections integer CHECK (adaptive_connections > 0),
    ADD COLUMN hold_until timestamptz,
    ADD COLUMN bounce_until timestamptz,
    ADD COLUMN rule text;
COMMENT ON COLUMN destinations.domain IS 'A recipient domain, a provider ("provider:google"), or a route to one ("provider:google route:ID").';
COMMENT ON COLUMN destinations.adaptive_rate IS 'Set by the replies: cut in half by throttling ones, raised step by step by success, null when recovered.';
COMMENT ON COLUMN destinations.adaptive_step IS 'What a window without a throttling reply adds to the adaptive rate.';
COMMENT ON COLUMN destinations.adaptive_from IS 'The rate at which the trouble began; at twice this the adaptive rate ends.';
COMMENT ON COLUMN destinations.adaptive_connections IS 'Set by an adaptive rule; gone when the rule''s time is over.';
COMMENT ON COLUMN destinations.hold_until IS 'An adaptive rule holds until then: no recovery before.';
COMMENT ON COLUMN destinations.bounce_until IS 'An adaptive rule says that what is deferred here until then is refused for good.';
COMMENT ON COLUMN destinations.rule IS 'The adaptive rule that acted last; null when a person or the slow-down did.';

CREATE OR REPLACE FUNCTION is_limited(d destinations) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT d.rate_per_second IS NOT NULL OR d.max_connections IS NOT NULL OR d.adaptive_rate IS NOT NULL
        OR coalesce(greatest(d.cooldown_until, d.suspended_until), '-infinity') > now()
        OR d.adaptive_connections IS NOT NULL AND d.hold_until > now()
$$;

CREATE TABLE shaping_counts (
    scope       text NOT NULL,
    period      text NOT NULL CHECK (period IN ('hour', 'day')),
    starts_at   timestamptz NOT NULL,
    taken       bigint NOT NULL DEFAULT 0 CHECK (taken >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, period, starts_at)
) WITH (fillfactor = 50);
COMMENT ON TABLE shaping_counts IS 'Messages that were let go in an hour or a day (UTC, business time) where a limit counts them. Bought before they are sent: a process that dies leaves a few unused.';
CREATE INDEX shaping_counts_starts ON shaping_counts (starts_at);

CREATE TABLE shaping_hits (
    scope       text NOT NULL,
    rule        text NOT NULL,
    minute      timestamptz NOT NULL,
    hits        bigint NOT NULL DEFAULT 0 CHECK (hits >= 0),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, rule, minute)
);
COMMENT ON TABLE shaping_hits IS 'Replies that an adaptive rule matched, by minute, until the rule acts or they are an hour old.';
CREATE INDEX shaping_hits_minute ON shaping_hits (minute);

CREATE TABLE recipient_domains (
    domain       text PRIMARY KEY CHECK (domain = lower(domain)),
    mail_hosts   text[] NOT NULL DEFAULT '{}',
    answer       text NOT NULL CHECK (answer IN ('hosts', 'none', 'refused', 'failed')),
    looked_up_at timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE recipient_domains IS 'Where the mail of a domain goes, as DNS said last: what tells which provider runs it. What is expired is still used until the next answer.';
COMMENT ON COLUMN recipient_domains.answer IS 'hosts: there are MX records. none: there are none. refused: null MX, the domain takes no mail. failed: no answer, asked again soon.';
CREATE INDEX recipient_domains_expires ON recipient_domains (expires_at);
