-- Who works in a workspace, how they come in, and how long they stay logged in.

ALTER TABLE users
    ADD COLUMN level              text NOT NULL DEFAULT 'owner' CHECK (level IN ('owner', 'editor', 'viewer')),
    ADD COLUMN name               text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    ADD COLUMN email_verified_at  timestamptz;
COMMENT ON COLUMN users.level IS 'What a client may do in its workspace; an admin may do everything whatever stands here.';
COMMENT ON COLUMN users.email_verified_at IS 'When somebody showed that mail to the address reaches them; null: nobody has.';
CREATE INDEX users_workspace ON users (workspace_id, id DESC);

-- A session is a family of refresh tokens: one log-in and everything that was refreshed from it.
CREATE TABLE sessions (
    id            uuid PRIMARY KEY,
    user_id       uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_agent    text NOT NULL DEFAULT '' CHECK (length(user_agent) <= 300),
    ip            text NOT NULL DEFAULT '' CHECK (length(ip) <= 45),
    last_used_at  timestamptz NOT NULL,
    expires_at    timestamptz NOT NULL,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN sessions.last_used_at IS 'Its last log-in or refresh.';
COMMENT ON COLUMN sessions.expires_at IS 'When its newest refresh token expires.';
CREATE INDEX sessions_user ON sessions (user_id, id DESC);
CREATE INDEX sessions_expired ON sessions (expires_at);

ALTER TABLE refresh_tokens ADD COLUMN session_id uuid REFERENCES sessions (id) ON DELETE CASCADE;
COMMENT ON COLUMN refresh_tokens.session_id IS 'Null only where a build before sessions made it: such a token opens nothing.';
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

-- Tokens that are good now become sessions of their own.
INSERT INTO sessions (id, user_id, last_used_at, expires_at, created_at)
SELECT id, user_id, created_at, expires_at, created_at FROM refresh_tokens WHERE used_at IS NULL;
UPDATE refresh_tokens SET session_id = id WHERE used_at IS NULL;

-- Wrong passwords, by account, whether the account exists or not.
CREATE TABLE login_failures (
    account         bytea PRIMARY KEY,
    failures        integer NOT NULL,
    window_ends_at  timestamptz NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN login_failures.account IS 'SHA-256 of the address: of a fixed size, and no list of addresses.';
CREATE INDEX login_failures_ended ON login_failures (window_ends_at);

CREATE TABLE invitations (
    id            uuid PRIMARY KEY,
    workspace_id  uuid NOT NULL REFERENCES workspaces (id),
    email         text NOT NULL CHECK (email = lower(email)),
    level         text NOT NULL CHECK (level IN ('owner', 'editor', 'viewer')),
    invited_by    uuid NOT NULL REFERENCES users (id),
    expires_at    timestamptz NOT NULL,
    accepted_at   timestamptz,
    revoked_at    timestamptz,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE UNIQUE INDEX invitations_open ON invitations (workspace_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX invitations_workspace ON invitations (workspace_id, id DESC);

-- What stands behind a link in a mail of ours. The token is the id and a signature, so nothing that opens anything is stored.
CREATE TABLE mail_tokens (
    id             uuid PRIMARY KEY,
    purpose        text NOT NULL CHECK (purpose IN ('invitation', 'verification', 'reset')),
    email          text NOT NULL,
    user_id        uuid REFERENCES users (id) ON DELETE CASCADE,
    invitation_id  uuid REFERENCES invitations (id) ON DELETE CASCADE,
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz,
    voided_at      timestamptz,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL DEFAULT now(),
    CHECK ((purpose = 'verification') = (user_id IS NOT NULL)),
    CHECK ((purpose = 'invitation') = (invitation_id IS NOT NULL))
);
COMMENT ON COLUMN mail_tokens.email IS 'Where it was sent. A reset names nobody: it is for whoever has the address when it is used, if anybody.';
COMMENT ON COLUMN mail_tokens.voided_at IS 'A newer one took its place.';
CREATE UNIQUE INDEX mail_tokens_good ON mail_tokens (purpose, email, coalesce(invitation_id, user_id, '00000000-0000-0000-0000-000000000000'))
    WHERE used_at IS NULL AND voided_at IS NULL;
CREATE INDEX mail_tokens_email ON mail_tokens (email, purpose, created_at);
CREATE INDEX mail_tokens_expired ON mail_tokens (expires_at);
