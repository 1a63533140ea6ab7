-- What sending a campaign asks most often, made cheaper.

-- Planned once a connection, not at each call: planning took longer than running. What it reads is found by index, whatever the
-- statistics of a young table say.
ALTER FUNCTION claim_job SET plan_cache_mode = force_generic_plan;
ALTER FUNCTION claim_job SET enable_seqscan = off;

-- Random bytes do not compress, and every reader of a chunk would unpack them.
ALTER TABLE chunks ALTER COLUMN contact_ids SET STORAGE EXTERNAL;
