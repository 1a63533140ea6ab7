-- What a change of limits may expect. The row's own updated_at moves with every reply that slows a destination down.
ALTER TABLE destinations ADD COLUMN limits_set_at timestamptz;
COMMENT ON COLUMN destinations.limits_set_at IS 'When an operator set rate_per_second and max_connections last.';
