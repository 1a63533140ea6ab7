//! References that are checked once a statement (migrations/0013_membership.sql) hold as foreign keys do.

use shared::{error::Error, testing::Stage};
use sqlx::{Connection, PgConnection, PgPool};
use uuid::Uuid;

struct Shop {
    stage: Stage,
    workspace: Uuid,
    list: Uuid,
    contact: Uuid,
}

impl Shop {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let workspace = stage.workspace("Ada").await;
        let shop = Self { stage, workspace, list: Uuid::now_v7(), contact: Uuid::now_v7() };
        sqlx::query("INSERT INTO lists (id, workspace_id, name) VALUES ($1, $2, 'readers')")
            .bind(shop.list)
            .bind(workspace)
            .execute(shop.pool())
            .await
            .unwrap();
        shop.add_contact(shop.contact).await.unwrap();
        shop
    }

    fn pool(&self) -> &PgPool {
        &self.stage.pool
    }

    async fn add_contact(&self, id: Uuid) -> Result<(), sqlx::Error> {
        contact_of(self.pool(), self.workspace, id).await
    }

    async fn members(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM list_members").fetch_one(self.pool()).await.unwrap()
    }

    /// Returns once the server process `pid` waits for a lock.
    async fn until_it_waits(&self, pid: i32) {
        loop {
            let waits: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)")
                .bind(pid)
                .fetch_one(self.pool())
                .await
                .unwrap();
            if waits {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn contact_of(pool: &PgPool, workspace: Uuid, id: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO contacts (id, workspace_id, email) VALUES ($1, $2, $1::text || '@one.test')")
        .bind(id)
        .bind(workspace)
        .execute(pool)
        .await
        .map(drop)
}

async fn join(connection: &mut PgConnection, list: Uuid, contact: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO list_members (list_id, contact_id) VALUES ($1, $2)")
        .bind(list)
        .bind(contact)
        .execute(connection)
        .await
        .map(drop)
}

async fn delete(connection: &mut PgConnection, contact: Uuid) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM contacts WHERE id = $1").bind(contact).execute(connection).await.map(drop)
}

async fn pid(connection: &mut PgConnection) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(connection).await.unwrap()
}

#[tokio::test]
async fn nobody_joins_what_is_not_there() {
    let shop = Shop::new().await;
    let nowhere = Uuid::now_v7();
    let mut connection = shop.pool().acquire().await.unwrap();
    for (list, contact, constraint) in
        [(nowhere, shop.contact, "list_members_list_id_fkey"), (shop.list, nowhere, "list_members_contact_id_fkey")]
    {
        let error = join(&mut connection, list, contact).await.unwrap_err();
        assert_eq!(Error::constraint(&error), Some(constraint), "{error}");
        assert!(error.as_database_error().unwrap().is_foreign_key_violation());
        assert!(error.to_string().contains(&nowhere.to_string()), "{error}");
    }
    let error = contact_of(shop.pool(), nowhere, Uuid::now_v7()).await.unwrap_err();
    assert_eq!(Error::constraint(&error), Some("contacts_workspace_id_fkey"));
    assert_eq!(shop.members().await, 0);
}

#[tokio::test]
async fn who_is_deleted_leaves_no_membership_behind() {
    let shop = Shop::new().await;
    let other = Uuid::now_v7();
    shop.add_contact(other).await.unwrap();
    let mut connection = shop.pool().acquire().await.unwrap();
    join(&mut connection, shop.list, shop.contact).await.unwrap();
    join(&mut connection, shop.list, other).await.unwrap();
    delete(&mut connection, shop.contact).await.unwrap();
    assert_eq!(shop.members().await, 1);
    sqlx::query("DELETE FROM lists").execute(&mut *connection).await.unwrap();
    assert_eq!(shop.members().await, 0);
    sqlx::query("DELETE FROM workspaces WHERE id = $1").bind(shop.workspace).execute(&mut *connection).await.unwrap();
    let contacts: i64 = sqlx::query_scalar("SELECT count(*) FROM contacts").fetch_one(&mut *connection).await.unwrap();
    assert_eq!(contacts, 0);
}

#[tokio::test]
async fn a_contact_that_is_joining_is_deleted_only_afterwards_and_takes_the_membership_along() {
    let shop = Shop::new().await;
    let (mut joining, mut deleting) = (shop.pool().acquire().await.unwrap(), shop.pool().acquire().await.unwrap());
    let waiting = pid(&mut deleting).await;
    let mut transaction = joining.begin().await.unwrap();
    join(&mut transaction, shop.list, shop.contact).await.unwrap();
    let contact = shop.contact;
    let deleted = tokio::spawn(async move { delete(&mut deleting, contact).await });
    shop.until_it_waits(waiting).await;
    transaction.commit().await.unwrap();
    deleted.await.unwrap().unwrap();
    assert_eq!(shop.members().await, 0);
}

#[tokio::test]
async fn nobody_joins_who_is_being_deleted() {
    let shop = Shop::new().await;
    let (mut joining, mut deleting) = (shop.pool().acquire().await.unwrap(), shop.pool().acquire().await.unwrap());
    let waiting = pid(&mut joining).await;
    let mut transaction = deleting.begin().await.unwrap();
    delete(&mut transaction, shop.contact).await.unwrap();
    let (list, contact) = (shop.list, shop.contact);
    let joined = tokio::spawn(async move { join(&mut joining, list, contact).await });
    shop.until_it_waits(waiting).await;
    transaction.commit().await.unwrap();
    let error = joined.await.unwrap().unwrap_err();
    assert_eq!(Error::constraint(&error), Some("list_members_contact_id_fkey"));
    assert_eq!(shop.members().await, 0);
}

#[tokio::test]
async fn ids_never_change() {
    let shop = Shop::new().await;
    join(&mut shop.pool().acquire().await.unwrap(), shop.list, shop.contact).await.unwrap();
    for statement in [
        "UPDATE contacts SET id = gen_random_uuid()",
        "UPDATE contacts SET workspace_id = gen_random_uuid()",
        "UPDATE lists SET id = gen_random_uuid()",
        "UPDATE workspaces SET id = gen_random_uuid()",
        "UPDATE list_members SET list_id = gen_random_uuid()",
        "UPDATE list_members SET contact_id = gen_random_uuid()",
    ] {
        let error = sqlx::query(statement).execute(shop.pool()).await.unwrap_err();
        assert!(error.to_string().contains("never changes"), "{statement}: {error}");
    }
}
