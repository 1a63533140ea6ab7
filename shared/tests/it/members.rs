//! Members of a workspace who change each other at the same time.

use shared::{
    accounts::{
        level::Level,
        member::{self, Actor},
        scope::Scope,
        user::{self, NewUser, Role},
    },
    database,
    error::Error,
    testing::Stage,
};
use uuid::Uuid;

/// The admin and its workspace.
async fn admin(stage: &Stage, name: &str) -> (Uuid, Uuid) {
    let workspace_id = stage.workspace(name).await;
    let new = NewUser {
        workspace_id,
        email: format!("{name}@example.com"),
        name: name.to_owned(),
        password_hash: String::new(),
        role: Role::Admin,
        level: Level::Owner,
        email_verified_at: None,
    };
    // An owner besides, so that the admin is not kept for the workspace's sake.
    let other = NewUser { email: format!("{name}-too@example.com"), role: Role::Client, ..new.clone() };
    let mut connection = stage.pool.acquire().await.unwrap();
    user::create(&mut connection, other).await.unwrap();
    (user::create(&mut connection, new).await.unwrap(), workspace_id)
}

#[tokio::test]
async fn of_two_admins_who_disable_each_other_at_once_one_stays() {
    let stage = Stage::new().await;
    let ((ann, anns), (bob, bobs)) = (admin(&stage, "ann").await, admin(&stage, "bob").await);
    let by_ann = Actor { user_id: ann, scope: Scope::admin(bobs) };
    let by_bob = Actor { user_id: bob, scope: Scope::admin(anns) };
    let mut first = database::begin(&stage.pool).await.unwrap();
    member::disable(&mut first, by_ann, bob, stage.clock.now()).await.unwrap();
    let mut second = database::begin(&stage.pool).await.unwrap();
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *second).await.unwrap();
    let waits = async {
        let sql = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = $1 AND NOT granted)";
        while !sqlx::query_scalar::<_, bool>(sql).bind(pid).fetch_one(&stage.pool).await.unwrap() {
            tokio::task::yield_now().await;
        }
        first.commit().await.unwrap();
    };
    let (refused, ()) = tokio::join!(member::disable(&mut second, by_bob, ann, stage.clock.now()), waits);
    assert!(matches!(refused, Err(Error::Forbidden(reason)) if reason == "you were disabled meanwhile"));
}
