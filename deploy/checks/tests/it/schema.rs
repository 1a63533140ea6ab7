use std::time::Duration;

use crate::house::House;

/// What a program says that ends by itself, and not well.
async fn refusal(house: &House, name: &str) -> String {
    let run = house.program(name).output();
    let output = tokio::time::timeout(Duration::from_secs(60), run).await.expect("it ends by itself").expect("it starts");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!output.status.success(), "{name}: {said}");
    said
}

#[tokio::test]
async fn no_server_starts_on_a_schema_that_another_build_has_made() {
    let house = House::new().await;
    let newer = "UPDATE _sqlx_migrations SET version = version + 1000 WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let older = "UPDATE _sqlx_migrations SET version = version - 1000 WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    let oldest = "DELETE FROM _sqlx_migrations WHERE version = (SELECT max(version) FROM _sqlx_migrations)";
    house.stage.execute(newer).await;
    for name in ["mochila-api", "mochila-worker"] {
        let said = refusal(&house, name).await;
        assert!(said.contains("this build knows") && said.contains("deploy the newer build"), "{name}: {said}");
    }
    house.stage.execute(older).await;
    house.stage.execute(oldest).await;
    for name in ["mochila-api", "mochila-worker"] {
        let said = refusal(&house, name).await;
        assert!(said.contains("mochila-api migrate"), "{name}: {said}");
    }
}
