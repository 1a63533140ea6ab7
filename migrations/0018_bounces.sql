-- What comes back: bounces, complaints and unsubscribes, from where they came, and what a workspace does about them.

CREATE TABLE feedback_events (
    id            uuid PRIMARY KEY DEFAULT uuid_v7(),
    workspace_id  uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    campaign_id   uuid,
    contact_id    uuid,
    message_id    uuid,
    recipient     text NOT NULL,
    kind          text NOT NULL CHECK (kind IN ('bounce', 'delay', 'complaint', 'unsubscribe')),
    source        text NOT NULL CHECK (source IN
                    ('smtp', 'dsn', 'arf', 'mailto', 'ses', 'sendgrid', 'mailgun', 'postmark', 'generic')),
    class         text,
    hard          boolean NOT NULL DEFAULT false,
    smtp_code     smallint,
    status        text,
    diagnostic    text,
    dedupe_key    text NOT NULL,
    received_at   timestamptz NOT NULL,
    taken_at      timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feedback_events_once UNIQUE (workspace_id, dedupe_key),
    CONSTRAINT feedback_events_about CHECK (
        (campaign_id IS NOT NULL AND contact_id IS NOT NULL AND message_id IS NULL)
        OR (campaign_id IS NULL AND contact_id IS NULL AND message_id IS NOT NULL))
);
COMMENT ON TABLE feedback_events IS 'Facts about a delivery of a campaign, or about a message, that came after it was handed over; and refusals at the SMTP session. No foreign keys to either: the fact outlives them.';
COMMENT ON COLUMN feedback_events.recipient IS 'Whom the mail was sent to, lower case; a notice may name another address behind a forward.';
COMMENT ON COLUMN feedback_events.source IS 'smtp: the answer of the session. dsn, arf, mailto: a mail to the listener. Others: a webhook of that provider.';
COMMENT ON COLUMN feedback_events.class IS 'The classifier''s word; of a complaint the feedback type.';
COMMENT ON COLUMN feedback_events.hard IS 'The address will never take mail.';
COMMENT ON COLUMN feedback_events.status IS 'x.y.z of RFC 3463.';
COMMENT ON COLUMN feedback_events.dedupe_key IS 'Equal for the same fact, however often and on however many ways it is told.';
COMMENT ON COLUMN feedback_events.taken_at IS 'The policy has been applied; null for refusals of the session until the sweep.';
CREATE INDEX feedback_events_recipient ON feedback_events (workspace_id, recipient, received_at) WHERE kind = 'bounce';
CREATE INDEX feedback_events_delivery ON feedback_events (campaign_id, contact_id) WHERE campaign_id IS NOT NULL;
CREATE INDEX feedback_events_message ON feedback_events (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX feedback_events_untaken ON feedback_events (id) WHERE taken_at IS NULL;

ALTER TABLE deliveries ADD COLUMN complained_at timestamptz;
COMMENT ON COLUMN deliveries.complained_at IS 'The recipient called the mail spam. A mark beside the state, so that the states still add up to the audience.';

ALTER TABLE suppressions ADD COLUMN expires_at timestamptz;
COMMENT ON COLUMN suppressions.expires_at IS 'It counts until then; null: for good.';
CREATE INDEX suppressions_expiring ON suppressions (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE suppression_policies (
    workspace_id              uuid PRIMARY KEY REFERENCES workspaces (id) ON DELETE CASCADE,
    soft_bounces              integer NOT NULL CHECK (soft_bounces BETWEEN 1 AND 100),
    soft_days                 integer NOT NULL CHECK (soft_days BETWEEN 1 AND 3650),
    complaint_warn_percent    double precision NOT NULL CHECK (complaint_warn_percent > 0 AND complaint_warn_percent <= 100),
    complaint_pause_percent   double precision NOT NULL CHECK (complaint_pause_percent > 0 AND complaint_pause_percent <= 100),
    complaint_least_accepted  bigint NOT NULL CHECK (complaint_least_accepted BETWEEN 1 AND 1000000000),
    created_at                timestamptz NOT NULL DEFAULT now(),
    updated_at                timestamptz NOT NULL DEFAULT now(),
    CHECK (complaint_warn_percent <= complaint_pause_percent)
);
COMMENT ON TABLE suppression_policies IS 'A workspace without a row has the defaults.';
COMMENT ON COLUMN suppression_policies.soft_bounces IS 'So many soft bounces of an address without an accepted mail in between suppress it for soft_days.';
COMMENT ON COLUMN suppression_policies.complaint_least_accepted IS 'Rates are judged from so many accepted mails of a campaign on.';

ALTER TABLE campaigns ADD COLUMN pause_reason text, ADD COLUMN complaint_warning_at timestamptz;
COMMENT ON COLUMN campaigns.pause_reason IS 'Why the house paused it; null where a person did.';
COMMENT ON COLUMN campaigns.complaint_warning_at IS 'Since when more of its recipients complain than the workspace''s policy warns at.';

CREATE TABLE campaign_complaints (
    campaign_id   uuid PRIMARY KEY REFERENCES campaigns (id) ON DELETE CASCADE,
    complained    bigint NOT NULL CHECK (complained >= 0),
    judged        bigint NOT NULL DEFAULT 0,
    judged_at     timestamptz,
    paused_at     bigint,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN campaign_complaints.complained IS 'Recipients that complained; grows in the transaction that marks the delivery.';
COMMENT ON COLUMN campaign_complaints.judged IS 'Complaints that there were when the rate was looked at last.';
COMMENT ON COLUMN campaign_complaints.paused_at IS 'Complaints that there were when the house paused the campaign: who resumes it is not overruled until they have doubled.';
CREATE INDEX campaign_complaints_unjudged ON campaign_complaints (campaign_id) WHERE complained > judged;

CREATE TABLE inbound_mails (
    id           uuid PRIMARY KEY,
    purpose      text NOT NULL CHECK (purpose IN ('bounce', 'unsubscribe', 'feedback')),
    recipient    text NOT NULL CHECK (length(recipient) <= 320),
    sender       text NOT NULL DEFAULT '' CHECK (length(sender) <= 320),
    client       text NOT NULL,
    raw          bytea NOT NULL,
    state        text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'taken', 'unusable')),
    kind         text,
    taken_at     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE inbound_mails IS 'Mails that the listener answered 250 for, one row a recipient; a job reads each, retention removes them.';
COMMENT ON COLUMN inbound_mails.purpose IS 'bounce: to a return path of ours. unsubscribe: to an unsubscribe address of ours. feedback: to an address that is registered for reports.';
COMMENT ON COLUMN inbound_mails.recipient IS 'Of the envelope: it holds our token.';
COMMENT ON COLUMN inbound_mails.client IS 'Address of who delivered it.';
COMMENT ON COLUMN inbound_mails.state IS 'unusable: nothing in it that we understand or may believe.';
COMMENT ON COLUMN inbound_mails.kind IS 'What it was found to be: dsn, arf, unsubscribe, other.';

CREATE TABLE feedback_sources (
    id              uuid PRIMARY KEY,
    workspace_id    uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind            text NOT NULL CHECK (kind IN ('ses', 'sendgrid', 'mailgun', 'postmark', 'generic')),
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    secret_sealed   bytea,
    topic           text CHECK (length(topic) <= 256),
    everywhere      boolean NOT NULL DEFAULT false,
    received_at     timestamptz,
    refused_at      timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feedback_sources_name_key UNIQUE (workspace_id, name)
);
COMMENT ON TABLE feedback_sources IS 'Who may tell a workspace''s bounces and complaints over HTTP.';
COMMENT ON COLUMN feedback_sources.secret_sealed IS 'What the provider signs with, or its public key; sealed as routes.password_sealed, the row''s id authenticated with it. Null for ses: Amazon''s certificates sign.';
COMMENT ON COLUMN feedback_sources.topic IS 'The one SNS topic that may tell: Amazon signs for everybody.';
COMMENT ON COLUMN feedback_sources.everywhere IS 'It may tell of the mails of every workspace: relays are the house''s. Else of its own workspace''s alone.';
COMMENT ON COLUMN feedback_sources.refused_at IS 'When a post was refused last.';

CREATE TABLE feedback_posts (
    id           uuid PRIMARY KEY,
    source_id    uuid NOT NULL REFERENCES feedback_sources (id) ON DELETE CASCADE,
    replay_key   bytea NOT NULL,
    body         bytea NOT NULL,
    state        text NOT NULL DEFAULT 'received' CHECK (state IN ('received', 'taken', 'unusable')),
    taken_at     timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT feedback_posts_once UNIQUE (source_id, replay_key)
);
COMMENT ON TABLE feedback_posts IS 'Posts of providers whose signature was good; a job reads each, retention removes them.';
COMMENT ON COLUMN feedback_posts.replay_key IS 'Hash of what the signature makes unique: the same post again is not stored again.';
