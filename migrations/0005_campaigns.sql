-- What is sent, by which way.

CREATE TABLE routes (
    id                  uuid PRIMARY KEY,
    name                text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    kind                text NOT NULL CHECK (kind IN ('relay')),
    url                 text NOT NULL,
    username            text,
    password_sealed     bytea,
    tls                 text NOT NULL CHECK (tls IN ('none', 'opportunistic', 'required', 'implicit')),
    max_connections     integer NOT NULL CHECK (max_connections BETWEEN 1 AND 10000),
    rate_per_second     double precision CHECK (rate_per_second > 0),
    weight              integer NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0 AND 1000),
    disabled_at         timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT routes_name_key UNIQUE (name)
);
COMMENT ON COLUMN routes.url IS 'smtp://host:port, without credentials.';
COMMENT ON COLUMN routes.password_sealed IS 'AES-256-GCM under the key of the settings: key id, nonce, ciphertext and tag; the route''s id is authenticated with it.';
COMMENT ON COLUMN routes.weight IS 'Share among the routes of campaigns that pin none; 0 takes none.';

CREATE TABLE campaigns (
    id               uuid PRIMARY KEY,
    workspace_id     uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name             text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    subject          text NOT NULL CHECK (length(subject) BETWEEN 1 AND 200),
    from_name        text NOT NULL DEFAULT '' CHECK (length(from_name) <= 200),
    from_email       text NOT NULL,
    html             text NOT NULL,
    text             text,
    list_ids         uuid[] NOT NULL,
    route_id         uuid REFERENCES routes (id),
    state            text NOT NULL DEFAULT 'draft' CHECK (state IN
                       ('draft', 'scheduled', 'sending', 'paused', 'finished', 'finished_with_failures', 'cancelled')),
    scheduled_at     timestamptz,
    launched_at      timestamptz,
    launch_cursor    uuid,
    launch_counted   bigint NOT NULL DEFAULT 0,
    audience         bigint,
    finished_at      timestamptz,
    deleted_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN campaigns.text IS 'Null: derived from the HTML.';
COMMENT ON COLUMN campaigns.audience IS 'Recipients, frozen at launch; null until the launch has counted them all.';
COMMENT ON COLUMN campaigns.launch_cursor IS 'Last contact that is in a chunk; moves in the same transaction as the chunks.';
COMMENT ON COLUMN campaigns.launch_counted IS 'Recipients that are in chunks so far.';
CREATE INDEX campaigns_workspace ON campaigns (workspace_id, id DESC) WHERE deleted_at IS NULL;
CREATE INDEX campaigns_scheduled ON campaigns (scheduled_at) WHERE state = 'scheduled';
CREATE INDEX campaigns_active ON campaigns (id) WHERE state IN ('sending', 'paused');
CREATE INDEX campaigns_route ON campaigns (route_id) WHERE route_id IS NOT NULL;

CREATE TABLE chunks (
    id            uuid PRIMARY KEY,
    campaign_id   uuid NOT NULL REFERENCES campaigns (id) ON DELETE CASCADE,
    destination   text NOT NULL DEFAULT '',
    contact_ids   uuid[] NOT NULL CHECK (cardinality(contact_ids) BETWEEN 1 AND 10000),
    finished_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE chunks IS 'About 500 recipients. The SendChunk job that carries it has the same id. Finished when each of its ids has an outcome or a later date.';
CREATE INDEX chunks_open ON chunks (campaign_id) WHERE finished_at IS NULL;
CREATE INDEX chunks_campaign ON chunks (campaign_id, id);
