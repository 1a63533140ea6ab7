-- Transactional messages: one mail to one person, with what became of it.

CREATE TABLE templates (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    subject       text NOT NULL,
    html          text,
    text          text,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT templates_name_key UNIQUE (workspace_id, name),
    CONSTRAINT templates_body CHECK (html IS NOT NULL OR text IS NOT NULL)
);
COMMENT ON TABLE templates IS 'What messages say, with variables. A message keeps what was rendered: a change to a template changes none that was taken.';
COMMENT ON COLUMN templates.text IS 'Null: derived from the HTML.';

CREATE TABLE messages (
    id                uuid PRIMARY KEY,
    workspace_id      uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    template_id       uuid REFERENCES templates (id) ON DELETE SET NULL,
    job_id            uuid REFERENCES jobs (id) ON DELETE SET NULL,
    state             text NOT NULL DEFAULT 'queued' CHECK (state IN
                        ('queued', 'sending', 'accepted', 'deferred', 'bounced', 'complained', 'failed', 'suppressed', 'cancelled')),
    from_name         text NOT NULL,
    from_email        text NOT NULL,
    to_name           text NOT NULL,
    recipient         text NOT NULL,
    domain            text NOT NULL,
    reply_to_name     text,
    reply_to_email    text,
    subject           text NOT NULL,
    html              text,
    text              text NOT NULL,
    headers           jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(headers) = 'array'),
    tags              text[] NOT NULL DEFAULT '{}',
    metadata          jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    attachments       smallint NOT NULL DEFAULT 0,
    attempts          smallint NOT NULL DEFAULT 0,
    attempt_id        bigint NOT NULL DEFAULT 0,
    route_id          uuid REFERENCES routes (id) ON DELETE SET NULL,
    smtp_code         smallint,
    enhanced_code     text,
    response          text,
    reason            text,
    expires_at        timestamptz NOT NULL,
    first_attempt_at  timestamptz,
    last_attempt_at   timestamptz,
    next_attempt_at   timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE messages IS 'Its Message-ID is <id@domain of the sender>, without hyphens, on every attempt: a mail that came twice can be told.';
COMMENT ON COLUMN messages.state IS 'sending: in flight; what a dead process left there is sent again. Facts that come later go accepted -> bounced -> complained, never back.';
COMMENT ON COLUMN messages.recipient IS 'The address, lower case; domain is what stands after its @.';
COMMENT ON COLUMN messages.subject IS 'Subject and bodies are what was rendered when the message was taken.';
COMMENT ON COLUMN messages.headers IS 'More header fields: [["X-Order", "66"], ...].';
COMMENT ON COLUMN messages.attempt_id IS 'Random per attempt: an outcome must name it.';
COMMENT ON COLUMN messages.expires_at IS 'No attempt is begun after it.';
COMMENT ON COLUMN messages.reason IS 'Why, in one of our words: expired, internal, suppressed, sending domain, no reply, connection, address ...';
CREATE INDEX messages_workspace ON messages (workspace_id, id DESC);
CREATE INDEX messages_recipient ON messages (workspace_id, recipient);
CREATE INDEX messages_tags ON messages USING gin (tags);
CREATE INDEX messages_open ON messages (id) WHERE state IN ('queued', 'sending', 'deferred');
CREATE INDEX messages_template ON messages (template_id) WHERE template_id IS NOT NULL;
CREATE INDEX messages_job ON messages (job_id) WHERE job_id IS NOT NULL;
CREATE INDEX messages_route ON messages (route_id) WHERE route_id IS NOT NULL;

-- In the row's own database, not in the object store: at most 10 MB, committed with the message, gone with it, and in its backup.
CREATE TABLE message_attachments (
    message_id    uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    position      smallint NOT NULL CHECK (position >= 0),
    filename      text NOT NULL CHECK (length(filename) BETWEEN 1 AND 255),
    content_type  text NOT NULL,
    content_id    text,
    bytes         integer NOT NULL CHECK (bytes >= 0),
    content       bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (message_id, position)
);
COMMENT ON COLUMN message_attachments.content IS 'Null once the message is over: nobody needs it then.';
COMMENT ON COLUMN message_attachments.content_id IS 'Set where the HTML shows it by cid:.';
-- Pictures and PDFs are compressed already.
ALTER TABLE message_attachments ALTER COLUMN content SET STORAGE EXTERNAL;

CREATE TABLE message_events (
    id             bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    message_id     uuid NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    kind           text NOT NULL CHECK (kind IN
                     ('queued', 'sending', 'accepted', 'deferred', 'bounced', 'complained', 'failed', 'suppressed', 'cancelled')),
    attempt        smallint NOT NULL DEFAULT 0,
    route_id       uuid REFERENCES routes (id) ON DELETE SET NULL,
    smtp_code      smallint,
    enhanced_code  text,
    response       text,
    reason         text,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at     timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE message_events IS 'What happened to a message, in order.';
CREATE INDEX message_events_message ON message_events (message_id, id);
CREATE INDEX message_events_route ON message_events (route_id) WHERE route_id IS NOT NULL;
