//! `mochila-worker check-shaping`, as an operator runs it before a file goes live.

use std::{fs, path::Path};

use uuid::Uuid;

use crate::house::House;

/// Its exit code and what it prints.
async fn check(house: &House, file: &Path) -> (i32, String) {
    let output = house.program("mochila-worker").arg("check-shaping").arg(file).output().await.expect("it starts");
    (output.status.code().expect("an exit code"), String::from_utf8(output.stdout).expect("text"))
}

#[tokio::test]
async fn what_matches_nothing_is_told_with_its_place_and_what_is_right_passes() {
    let house = House::new().await;
    let workspace = house.stage.workspace("Sample").await;
    let file = std::env::temp_dir().join(format!("shaping-{}.toml", Uuid::now_v7().simple()));

    fs::write(&file, format!("[provider.google]\nconnections = 3\n\n[workspace.\"{workspace}\"]\nper_minute = 600\n"))
        .expect("written");
    let (code, said) = check(&house, &file).await;
    assert_eq!(code, 0, "{said}");

    fs::write(&file, "[rule.mine]\nproviders = [\"gogle\"]\ncodes = [421]\nsuspend = true\nfor_seconds = 60\n").expect("written");
    let (code, said) = check(&house, &file).await;
    assert_eq!(code, 1);
    assert!(said.starts_with("rule.mine: no provider block is called \"gogle\", so this matches nothing"), "{said}");

    let nobody = Uuid::now_v7();
    fs::write(&file, format!("[route.\"nowhere\".google]\nper_minute = 1\n\n[workspace.\"{nobody}\"]\nper_minute = 1\n"))
        .expect("written");
    let (code, said) = check(&house, &file).await;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("route.\"nowhere\": no route is called so"), "{said}");
    assert!(said.contains(&format!("workspace.\"{nobody}\": there is no such workspace")), "{said}");
    fs::remove_file(&file).expect("removed");
}
