-- The domains that mail may come from: who owns them, what their DNS says, and the keys that sign for them.

CREATE TABLE sending_domains (
    id                uuid PRIMARY KEY,
    workspace_id      uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    domain            text NOT NULL CHECK (domain = lower(domain) AND length(domain) BETWEEN 1 AND 253),
    state             text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'verified', 'degraded', 'failed')),
    ownership_token   text NOT NULL,
    return_path_host  text NOT NULL CHECK (return_path_host = lower(return_path_host) AND length(return_path_host) BETWEEN 1 AND 253),
    checks            jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(checks) = 'array'),
    checked_at        timestamptz,
    verified_at       timestamptz,
    failing_since     timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT sending_domains_domain_key UNIQUE (workspace_id, domain)
);
COMMENT ON TABLE sending_domains IS 'A workspace sends from a domain only while its state is verified or degraded.';
COMMENT ON COLUMN sending_domains.domain IS 'Lower case, A-labels.';
COMMENT ON COLUMN sending_domains.state IS 'pending: never verified. degraded: a check that was passed fails now, mail still goes out. failed: it has failed for too long, or must not go out.';
COMMENT ON COLUMN sending_domains.ownership_token IS 'What the TXT record that proves ownership says.';
COMMENT ON COLUMN sending_domains.return_path_host IS 'Bounces come back to addresses at this host, which is the domain or below it, so that SPF aligns.';
COMMENT ON COLUMN sending_domains.checks IS 'Of the last verification: name, verdict (pass, warn, fail), found, expected, advice.';
COMMENT ON COLUMN sending_domains.failing_since IS 'A required check has failed since; null while all pass.';
CREATE INDEX sending_domains_verified ON sending_domains (domain) WHERE state IN ('verified', 'degraded');
CREATE INDEX sending_domains_checked ON sending_domains (checked_at);

CREATE TABLE dkim_keys (
    id                  uuid PRIMARY KEY,
    sending_domain_id   uuid NOT NULL REFERENCES sending_domains (id) ON DELETE CASCADE,
    selector            text NOT NULL CHECK (selector ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
    algorithm           text NOT NULL CHECK (algorithm IN ('rsa-sha256', 'ed25519-sha256')),
    private_key_sealed  bytea NOT NULL,
    public_key          text NOT NULL,
    state               text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'active', 'retiring', 'retired')),
    activated_at        timestamptz,
    retired_at          timestamptz,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dkim_keys_selector_key UNIQUE (sending_domain_id, selector)
);
COMMENT ON COLUMN dkim_keys.private_key_sealed IS 'PKCS#8, sealed as routes.password_sealed; the row''s id is authenticated with it.';
COMMENT ON COLUMN dkim_keys.public_key IS 'What follows p= in the DNS record: base64.';
COMMENT ON COLUMN dkim_keys.state IS 'pending: not yet seen in DNS. active: signs. retiring: signs no more, but its record must stay for mail on its way. retired: its record may go.';
