-- Whom we write to, and whom we never write to.

CREATE TABLE lists (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT lists_name_key UNIQUE (workspace_id, name)
);

CREATE TABLE contacts (
    id               uuid PRIMARY KEY,
    workspace_id     uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    email            text NOT NULL CHECK (email = lower(email) AND length(email) <= 254),
    domain           text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED,
    name             text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    attributes       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
    state            text NOT NULL DEFAULT 'subscribed' CHECK (state IN ('subscribed', 'unsubscribed', 'blocked')),
    unsubscribed_at  timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT contacts_email_key UNIQUE (workspace_id, email)
);
COMMENT ON COLUMN contacts.email IS 'As it is sent to, lower case; a non-ASCII domain is stored as its A-label.';
CREATE INDEX contacts_workspace ON contacts (workspace_id, id);

CREATE TABLE list_members (
    list_id     uuid NOT NULL REFERENCES lists (id) ON DELETE CASCADE,
    contact_id  uuid NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    joined_at   timestamptz NOT NULL DEFAULT now(),
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (list_id, contact_id)
);
COMMENT ON COLUMN list_members.joined_at IS 'A campaign reaches those who joined before it was launched.';
CREATE INDEX list_members_contact ON list_members (contact_id);

CREATE TABLE suppressions (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    kind          text NOT NULL CHECK (kind IN ('address', 'domain')),
    value         text NOT NULL CHECK (value = lower(value) AND length(value) BETWEEN 1 AND 254),
    reason        text NOT NULL DEFAULT 'manual' CHECK (reason IN ('manual', 'unsubscribe', 'bounce', 'complaint')),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT suppressions_value_key UNIQUE (workspace_id, kind, value)
);
COMMENT ON TABLE suppressions IS 'Independent of contacts: an address stays here when the contact is deleted.';
