-- Who belongs to whom is checked once a statement, not once a row: an import puts thousands of contacts on a list in one statement, and
-- the row by row foreign keys cost it more than the rows themselves. The guarantees are those of a foreign key with ON DELETE CASCADE,
-- under the same names: nothing refers to what is not there, a reference that is being made holds what it refers to (FOR KEY SHARE)
-- until its transaction ends, and what is deleted takes along what refers to it.

ALTER TABLE list_members DROP CONSTRAINT list_members_list_id_fkey, DROP CONSTRAINT list_members_contact_id_fkey;
ALTER TABLE contacts DROP CONSTRAINT contacts_workspace_id_fkey;

-- enable_seqscan: the plans are kept by the session and may have been made when the tables were small.
CREATE FUNCTION check_list_members() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_missing uuid;
BEGIN
    SELECT g.list_id INTO v_missing FROM (SELECT DISTINCT list_id FROM given) g
    LEFT JOIN LATERAL (SELECT id FROM lists WHERE id = g.list_id FOR KEY SHARE) l ON true
    WHERE l.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('list %s does not exist', v_missing),
            TABLE = 'list_members', CONSTRAINT = 'list_members_list_id_fkey';
    END IF;
    -- A contact that this very transaction wrote is held already: nobody else can delete it before the transaction ends.
    SELECT g.contact_id INTO v_missing FROM given g
    LEFT JOIN LATERAL (SELECT id FROM contacts WHERE id = g.contact_id AND xmin = pg_current_xact_id()::xid OFFSET 0) own ON true
    LEFT JOIN LATERAL (SELECT id FROM contacts WHERE own.id IS NULL AND id = g.contact_id FOR KEY SHARE) other ON true
    WHERE own.id IS NULL AND other.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('contact %s does not exist', v_missing),
            TABLE = 'list_members', CONSTRAINT = 'list_members_contact_id_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER list_members_refer AFTER INSERT ON list_members REFERENCING NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION check_list_members();

CREATE FUNCTION check_contacts() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    v_missing uuid;
BEGIN
    SELECT g.workspace_id INTO v_missing FROM (SELECT DISTINCT workspace_id FROM given) g
    LEFT JOIN LATERAL (SELECT id FROM workspaces WHERE id = g.workspace_id FOR KEY SHARE) w ON true
    WHERE w.id IS NULL LIMIT 1;
    IF FOUND THEN
        RAISE foreign_key_violation USING MESSAGE = format('workspace %s does not exist', v_missing),
            TABLE = 'contacts', CONSTRAINT = 'contacts_workspace_id_fkey';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER contacts_refer AFTER INSERT ON contacts REFERENCING NEW TABLE AS given
    FOR EACH STATEMENT EXECUTE FUNCTION check_contacts();

CREATE FUNCTION delete_members_of_lists() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM list_members m USING gone WHERE m.list_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER lists_take_members AFTER DELETE ON lists REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION delete_members_of_lists();

CREATE FUNCTION delete_memberships_of_contacts() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM list_members m USING gone WHERE m.contact_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER contacts_take_memberships AFTER DELETE ON contacts REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION delete_memberships_of_contacts();

CREATE FUNCTION delete_contacts_of_workspaces() RETURNS trigger LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
    DELETE FROM contacts c USING gone WHERE c.workspace_id = gone.id;
    RETURN NULL;
END $$;
CREATE TRIGGER workspaces_take_contacts AFTER DELETE ON workspaces REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION delete_contacts_of_workspaces();

-- Ids never change: then no update can cut a reference.
CREATE FUNCTION refuse_another_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF to_jsonb(OLD) -> TG_ARGV[0] IS DISTINCT FROM to_jsonb(NEW) -> TG_ARGV[0] THEN
        RAISE foreign_key_violation USING MESSAGE = format('%s.%s never changes', TG_TABLE_NAME, TG_ARGV[0]);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER workspaces_keep_id BEFORE UPDATE OF id ON workspaces FOR EACH ROW EXECUTE FUNCTION refuse_another_id('id');
CREATE TRIGGER lists_keep_id BEFORE UPDATE OF id ON lists FOR EACH ROW EXECUTE FUNCTION refuse_another_id('id');
CREATE TRIGGER contacts_keep_id BEFORE UPDATE OF id ON contacts FOR EACH ROW EXECUTE FUNCTION refuse_another_id('id');
CREATE TRIGGER contacts_keep_workspace BEFORE UPDATE OF workspace_id ON contacts
    FOR EACH ROW EXECUTE FUNCTION refuse_another_id('workspace_id');
CREATE TRIGGER list_members_keep_list BEFORE UPDATE OF list_id ON list_members
    FOR EACH ROW EXECUTE FUNCTION refuse_another_id('list_id');
CREATE TRIGGER list_members_keep_contact BEFORE UPDATE OF contact_id ON list_members
    FOR EACH ROW EXECUTE FUNCTION refuse_another_id('contact_id');
