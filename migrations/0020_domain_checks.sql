-- When a sending domain is looked at next, and one owner for each verified domain.

ALTER TABLE sending_domains ADD COLUMN check_due_at timestamptz NOT NULL DEFAULT now();
COMMENT ON COLUMN sending_domains.check_due_at IS 'From when on it is verified again without being asked.';
DROP INDEX sending_domains_checked;
CREATE INDEX sending_domains_due ON sending_domains (check_due_at);

DROP INDEX sending_domains_verified;
CREATE UNIQUE INDEX sending_domains_owner ON sending_domains (domain) WHERE state IN ('verified', 'degraded');
