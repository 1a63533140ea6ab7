use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    process::{Command, Output},
    sync::atomic::Ordering,
};

use mochila_deploy_checks::files;
use uuid::Uuid;

use crate::house::House;

/// A folder that is gone with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mochila-{name}-{}", Uuid::now_v7().simple()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn run(script: &str, database: &str, store: &str, arguments: &[&str]) -> Output {
    let script = files::root().join(script);
    let mut command = Command::new(script);
    command.args(arguments).env("MOCHILA_DATABASE__URL", database).env("MOCHILA_STORE__URL", store);
    command.output().expect("it starts")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn refused(output: &Output, why: &str) {
    assert!(!output.status.success() && said(output).contains(why), "{}", said(output));
}

fn rows(backup: &str) -> BTreeMap<String, i64> {
    let manifest = fs::read_to_string(PathBuf::from(backup).join("manifest")).expect("a manifest");
    let counted = manifest.lines().filter_map(|line| line.strip_prefix("rows ")?.split_once(' '));
    counted.map(|(table, rows)| (table.to_owned(), rows.parse().expect("a number"))).collect()
}

/// A new, empty database on the stage's server, and its address.
async fn empty_database(house: &House) -> String {
    let name = format!("restored_{}", Uuid::now_v7().simple());
    house.stage.arrange(format!("CREATE DATABASE {name}")).await;
    let url = house.stage.settings.database.url.expose();
    let (server, _) = url.rsplit_once('/').expect("a database");
    format!("{server}/{name}")
}

impl House {
    /// Works with another database and other keys in Redis from now on.
    async fn move_to(&mut self, database: &str) {
        self.stage.settings.database.url = database.to_owned().into();
        self.stage.settings.redis.prefix.push_str("_moved");
        self.stage.pool = shared::database::pool(&self.stage.settings.database, "test").expect("the address is well-formed");
    }

    /// Waits until the operator's view says that a live worker is held back for this reason.
    async fn until_held(&self, reason: &str) {
        let mut last = String::new();
        for _ in 0..1_200 {
            let output = self.program("mochila-worker").args(["stuck", "--json"]).output().await.expect("it starts");
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            if last.contains(reason) && self.stage.number("SELECT count(*) FROM workers", uuid::Uuid::nil()).await > 0 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("not held within a minute: {last}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_in_the_middle_of_a_campaign_is_restored_and_goes_on_where_it_was_once_a_person_says_so() {
    let mut house = House::new().await;
    house.sink.settings.delay_ms.store(20, Ordering::Relaxed);
    let campaign = house.stage.campaign(&[("orchard.test", 1500)]).await.campaign_id;
    let store = Folder::new("store");
    fs::create_dir_all(store.0.join("imports")).expect("a folder");
    fs::write(store.0.join("imports/a file.csv"), "email\n").expect("an upload");
    let store_url = format!("file://{}", store.0.display());
    let worker = house.worker().await;
    house.until(campaign, "SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND state = 'accepted'", |n| n >= 200).await;

    // While it sends.
    let backups = Folder::new("backups");
    let target = backups.0.to_str().expect("a path");
    let database = house.stage.settings.database.url.expose().to_owned();
    let first = ok(&run("deploy/backup", &database, &store_url, &[target]));
    let counted = rows(&first);
    assert!((200..1500).contains(&counted["deliveries"]), "half way: {counted:?}");
    assert_eq!((counted["contacts"], counted["campaigns"]), (1500, 1));

    // The machine dies; the last backup is of that moment.
    worker.kill().await;
    std::thread::sleep(std::time::Duration::from_secs(1));
    let second = ok(&run("deploy/backup", &database, &store_url, &["--keep", "1", target]));
    assert!(!PathBuf::from(&first).exists() && PathBuf::from(&second).is_dir(), "--keep 1 keeps the newest");
    let received = house.sink.counts.stats().received;

    let new = empty_database(&house).await;
    let new_store = Folder::new("new-store");
    let new_store_url = format!("file://{}", new_store.0.display());
    ok(&run("deploy/restore", &new, &new_store_url, &[&second]));
    assert_eq!(fs::read_to_string(new_store.0.join("imports/a file.csv")).expect("the upload"), "email\n");
    refused(&run("deploy/restore", &new, &new_store_url, &[&second]), "the database is not empty");
    fs::write(PathBuf::from(&second).join("manifest"), "format 1\n").expect("written");
    refused(&run("deploy/restore", &empty_database(&house).await, &new_store_url, &[&second]), "is damaged");

    house.move_to(&new).await;
    let worker = house.worker().await;
    house.until_held("restored").await;
    assert_eq!(house.sink.counts.stats().received, received, "a restored database sends nothing by itself");
    let confirmed = house.program("mochila-worker").arg("confirm-restore").output().await.expect("it starts");
    assert!(confirmed.status.success(), "{confirmed:?}");
    house.until_finished(campaign).await;
    worker.kill().await;
    let stats = house.sink.counts.stats();
    assert_eq!(stats.duplicates, 0, "nobody got it twice");
    let doubted =
        house.stage.number("SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND state = 'unknown'", campaign).await;
    let accepted =
        house.stage.number("SELECT count(*) FROM deliveries WHERE campaign_id = $1 AND state = 'accepted'", campaign).await;
    assert_eq!(accepted + doubted, 1500);
    // The dead worker had 64 connections at most, with four messages each on their way.
    assert!(doubted <= 256, "{doubted}");
    let received = i64::try_from(stats.received).expect("a number");
    assert!((accepted..=1500).contains(&received), "{received} received, {accepted} accepted");
}

#[tokio::test]
async fn a_backup_needs_a_mochila_and_somewhere_to_find_the_uploads() {
    let house = House::new().await;
    let (database, backups) = (house.stage.settings.database.url.expose().to_owned(), Folder::new("backups"));
    let target = backups.0.to_str().expect("a path");
    refused(
        &run("deploy/backup", &database, "s3://bucket/prefix", &[target]),
        "is not a folder: give --objects FOLDER or --no-objects",
    );
    refused(&run("deploy/backup", &empty_database(&house).await, "", &["--no-objects", target]), "deploy/backup: ");
    refused(&run("deploy/backup", "postgres://nobody@127.0.0.1:1/nothing", "", &["--no-objects", target]), "deploy/backup: ");
    let left: Vec<_> = fs::read_dir(&backups.0).expect("a folder").collect();
    assert!(left.is_empty(), "what failed leaves nothing that looks like a backup: {left:?}");
    let backup = ok(&run("deploy/backup", &database, "", &["--no-objects", target]));
    ok(&run("deploy/restore", &empty_database(&house).await, "", &[&backup]));
}
