//! Uploads and runs on a real database and a folder.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use sqlx::FromRow;
use uuid::Uuid;

use super::{
    batch::Batch,
    import::{self, Report},
    load::{Checkpoint, Halt, Load, PART_RECORDS},
    part::{self, Place},
    people::Way,
    row::Row,
    row_errors,
    source::Source,
    sweep,
    upload::{Accepted, Upload},
};
use crate::{accounts::scope::Scope, database, error::Error, queue::claim::Lease, store::Store, testing::Stage};

struct House {
    stage: Stage,
    store: Store,
    scope: Scope,
    list_id: Uuid,
}

impl House {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let store = Store::from_settings(&stage.settings.store).expect("a store");
        let workspace_id = stage.workspace("Ada").await;
        let house = Self { stage, store, scope: Scope::client(workspace_id), list_id: Uuid::now_v7() };
        house.list(house.list_id, "readers").await;
        house
    }

    async fn list(&self, id: Uuid, name: &str) {
        sqlx::query("INSERT INTO lists (id, workspace_id, name) VALUES ($1, $2, $3)")
            .bind(id)
            .bind(self.scope.workspace_id)
            .bind(name)
            .execute(&self.stage.pool)
            .await
            .expect("a list");
    }

    async fn begin(&self, limit_bytes: u64) -> Upload {
        Upload::begin(&self.stage.pool, &self.store, self.scope, "people.csv", limit_bytes).await.expect("begun")
    }

    async fn upload(&self, file: impl Into<Vec<u8>>) -> Accepted {
        let mut upload = self.begin(1 << 30).await;
        upload.write(file.into().into()).await.expect("written");
        upload.accept(self.list_id).await.expect("accepted")
    }

    /// As a worker does: the job runs, under the next epoch.
    async fn claim(&self, accepted: Accepted) -> Lease {
        let epoch = sqlx::query_scalar(
            "UPDATE jobs SET state = 'running', lease_epoch = lease_epoch + 1, lease_owner = $2, lease_until = now() + interval '1 hour',
                             finished_at = NULL
             WHERE id = $1 RETURNING lease_epoch",
        )
        .bind(accepted.job_id)
        .bind(Uuid::now_v7())
        .fetch_one(&self.stage.pool)
        .await
        .expect("claimed");
        Lease { job_id: accepted.job_id, epoch }
    }

    fn load(&self, accepted: Accepted, lease: Lease, part_records: i64) -> Load<'_> {
        Load { pool: &self.stage.pool, store: &self.store, import_id: accepted.id, lease, part_records }
    }

    async fn run(&self, accepted: Accepted, part_records: i64) -> Report {
        let lease = self.claim(accepted).await;
        self.load(accepted, lease, part_records).run(&mut Watch::default()).await.expect("loaded")
    }

    async fn people(&self) -> Vec<Person> {
        sqlx::query_as(
            "SELECT email, name, attributes::text AS attributes, state, (SELECT count(*) FROM list_members WHERE contact_id = id) AS lists
             FROM contacts ORDER BY email COLLATE \"C\"",
        )
        .fetch_all(&self.stage.pool)
        .await
        .expect("contacts")
    }

    async fn count(&self, table: &'static str) -> i64 {
        sqlx::QueryBuilder::new("SELECT count(*) FROM ")
            .push(table)
            .build_query_scalar()
            .fetch_one(&self.stage.pool)
            .await
            .expect("a count")
    }

    async fn errors_file(&self, id: Uuid) -> String {
        let parts: Vec<Bytes> = row_errors::csv(self.stage.pool.clone(), id).try_collect().await.expect("the file");
        String::from_utf8(parts.concat()).expect("UTF-8")
    }
}

#[derive(Debug, FromRow, PartialEq)]
struct Person {
    email: String,
    name: String,
    attributes: String,
    state: String,
    lists: i64,
}

fn shown(people: &[Person]) -> String {
    let line = |p: &Person| format!("{} {:?} {} {} {}\n", p.email, p.name, p.attributes, p.state, p.lists);
    people.iter().map(line).collect()
}

/// Notes what it is told, and stops the run at the call `stop_at`, counted from 1.
#[derive(Default)]
struct Watch {
    told: Vec<(i64, i64)>,
    stop_at: Option<usize>,
}

impl Checkpoint for Watch {
    type Stop = &'static str;

    async fn checkpoint(&mut self, done: i64, total: i64) -> Result<(), &'static str> {
        self.told.push((done, total));
        if self.stop_at == Some(self.told.len()) { Err("asked to") } else { Ok(()) }
    }
}

fn people(count: usize) -> String {
    let mut file = "email,name,city,plan,score\n".to_owned();
    for n in 0..count {
        // Neighbours in the file are far apart in the index.
        let scattered = n.wrapping_mul(7_919) % count.max(1);
        file += &format!("person{scattered}@domain{}.test,Person {scattered},City {},plan {},{n}\n", n % 50, n % 300, n % 5);
    }
    file
}

#[tokio::test]
async fn a_nasty_file_is_counted_exactly() {
    let house = House::new().await;
    let file = "\u{feff}E-Mail;First Name;Last name;Notes\r\n\
        ada@one.test;Ada;Lovelace;\"likes; \"\"quotes\"\"\r\nand lines\"\r\n\
        \r\n\
        a@b..c;Bad;Address;x\r\n\
        GRACE@one.test;Grace;;\r\n\
        too@many.test;a;b;c;d\r\n\
        ;;;\r\n\
        too@few.test\r\n\
        \"open;quote\r\n\
        grace@ONE.test;;;navy\r\n\
        =cmd@one.test;=1+1;;\r\n\
        ;No;Address;\r\n\
        ZOE\u{308}@one.test;Zoë;;last";
    let accepted = house.upload(file).await;
    let report = house.run(accepted, 3).await;
    assert_eq!(report, Report { records: 10, created: 4, updated: 1, duplicate: 0, invalid: 5 });
    insta::assert_snapshot!(shown(&house.people().await), @r#"
    =cmd@one.test "=1+1" {} subscribed 1
    ada@one.test "Ada Lovelace" {"Notes": "likes; \"quotes\"\r\nand lines"} subscribed 1
    grace@one.test "Grace" {"Notes": "navy"} subscribed 1
    zoë@one.test "Zoë" {"Notes": "last"} subscribed 1
    "#);
    insta::assert_snapshot!(house.errors_file(accepted.id).await.replace('\r', ""), @r#"
    line,column,reason,row
    5,E-Mail,"""a@b..c"" has a misplaced dot in its domain",a@b..c;Bad;Address;x
    7,,"has too many columns: 5, where the header has 4",too@many.test;a;b;c;d
    9,,"has too few columns: 1, where the header has 4",too@few.test
    10,,"has a quote that is not closed, or text behind a closing quote","""open;quote"
    13,E-Mail,""""" is empty",;No;Address;
    "#);
    let again = house.upload(file).await;
    assert_eq!(house.run(again, 10_000).await, Report { records: 10, created: 0, updated: 4, duplicate: 1, invalid: 5 });
}

#[tokio::test]
async fn contacts_keep_their_state_and_what_the_file_does_not_say() {
    let house = House::new().await;
    let first = house.upload("email,name,city,plan\na@b.test,Ada,London,pro\nc@d.test,Carl,,\n").await;
    house.run(first, 10).await;
    sqlx::query("UPDATE contacts SET state = 'unsubscribed' WHERE email = 'a@b.test'")
        .execute(&house.stage.pool)
        .await
        .expect("updated");
    let second = house.upload("email,name,city\nA@B.TEST,,Paris\nc@d.test,Charles,Rome\n").await;
    house.run(second, 10).await;
    insta::assert_snapshot!(shown(&house.people().await), @r#"
    a@b.test "Ada" {"city": "Paris", "plan": "pro"} unsubscribed 1
    c@d.test "Charles" {"city": "Rome"} subscribed 1
    "#);
}

#[tokio::test]
async fn a_run_that_stops_between_any_two_parts_is_taken_up_where_it_stopped() {
    let house = House::new().await;
    let file = people(95) + "bad,,,,\nperson0@domain0.test,Again,,,\n";
    for stop_at in 1..=9 {
        let accepted = house.upload(file.clone()).await;
        let lease = house.claim(accepted).await;
        let mut watch = Watch { stop_at: Some(stop_at), ..Watch::default() };
        let halt = house.load(accepted, lease, 10).run(&mut watch).await.expect_err("stopped");
        assert!(matches!(halt, Halt::Stopped("asked to")), "{halt:?}");
        assert_eq!(import::get(&house.stage.pool, accepted.id).await.expect("there").records_done, 10 * stop_at as i64);
        let lease = house.claim(accepted).await;
        let mut resumed = Watch::default();
        let report = house.load(accepted, lease, 10).run(&mut resumed).await.expect("loaded");
        assert_eq!((report.records, report.invalid), (97, 1));
        assert_eq!(report.created + report.updated + report.duplicate, 96);
        assert_eq!(report.created, if stop_at == 1 { 95 } else { 0 });
        watch.told.extend(resumed.told);
        assert!(watch.told.is_sorted(), "progress only grows: {:?}", watch.told);
        assert_eq!(watch.told.last(), Some(&(file.len() as i64, file.len() as i64)));
        assert_eq!(house.run(accepted, 10).await, report, "a run of a finished import changes nothing");
    }
    assert_eq!((house.count("contacts").await, house.count("list_members").await), (95, 95));
}

#[tokio::test]
async fn a_part_is_written_before_the_one_before_it_is_committed_and_waits_for_it() {
    let house = House::new().await;
    let pool = &house.stage.pool;
    for ends_well in [true, false] {
        let accepted = house.upload(people(30)).await;
        let lease = house.claim(accepted).await;
        import::start(pool, lease, accepted.id).await.expect("started");
        let import = import::get(pool, accepted.id).await.expect("there");
        let bytes = house.store.read(&import.object_key, 0).await.expect("read");
        let mut source = Source::open(Box::pin(bytes)).await.expect("open");
        let one = Batch::of(source.part(10).await.expect("a part")).expect("a batch");
        let two = Batch::of(source.part(10).await.expect("a part")).expect("a batch");
        let place = |before| Place { import_id: accepted.id, before };

        let first = part::begin(pool, place(0), &one).await.expect("begun").write(&one, Way::Copy).await.expect("written");
        let second = part::begin(pool, place(10), &two).await.expect("begun").write(&two, Way::Copy);
        let end_of_first = async {
            let waits = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
                         WHERE d.datname = current_database() AND l.locktype = 'advisory' AND NOT l.granted)";
            while !sqlx::query_scalar::<_, bool>(waits).fetch_one(pool).await.expect("asked") {
                tokio::task::yield_now().await;
            }
            assert_eq!(import::get(pool, accepted.id).await.expect("there").records_done, 0);
            if ends_well {
                assert_eq!(first.commit(lease, &one).await.expect("committed").records_done, 10);
            } else {
                drop(first);
            }
        };
        let (second, ()) = tokio::join!(second, end_of_first);
        let second = second.expect("written").commit(lease, &two).await;
        if ends_well {
            assert_eq!(second.expect("committed").records_done, 20);
        } else {
            let error = second.expect_err("what comes before is not there");
            assert_eq!(error.to_string(), format!("import {} no longer stands at 10 records", accepted.id));
        }
        assert_eq!(house.run(accepted, 10).await.records, 30);
        assert_eq!((house.count("contacts").await, house.count("list_members").await), (30, 30));
    }
}

#[tokio::test]
async fn an_address_in_every_part_ends_as_its_last_row_says() {
    let house = House::new().await;
    let rows: String = (0..60).map(|n| format!("person{}@a.test,Person {n}\n", if n % 5 == 0 { 0 } else { n })).collect();
    let accepted = house.upload(format!("email,name\n{rows}")).await;
    let report = house.run(accepted, 5).await;
    assert_eq!(report, Report { records: 60, created: 49, updated: 11, ..Report::default() });
    assert_eq!(house.people().await[0].name, "Person 55");
}

#[tokio::test]
async fn known_contacts_behind_new_ones_are_updated() {
    let house = House::new().await;
    let known = house.upload("email,name\nperson33@a.test,Known\nperson71@a.test,Known\n").await;
    house.run(known, 10).await;
    let rows: String = (0..100).map(|n| format!("person{n}@a.test,Person {n}\n")).collect();
    let accepted = house.upload(format!("email,name\n{rows}")).await;
    let report = house.run(accepted, 10).await;
    assert_eq!(report, Report { records: 100, created: 98, updated: 2, ..Report::default() });
    let people = house.people().await;
    assert_eq!((people.len(), people.iter().filter(|person| person.name == "Known").count()), (100, 0));
    assert_eq!(house.count("list_members").await, 100);
}

#[tokio::test]
async fn a_crash_inside_a_part_leaves_nothing_of_it() {
    let house = House::new().await;
    let accepted = house.upload(people(30)).await;
    let lease = house.claim(accepted).await;
    let mut watch = Watch { stop_at: Some(1), ..Watch::default() };
    house.load(accepted, lease, 10).run(&mut watch).await.expect_err("stopped");

    let import = import::get(&house.stage.pool, accepted.id).await.expect("there");
    let bytes = house.store.read(&import.object_key, 0).await.expect("read");
    let mut source = Source::open(Box::pin(bytes)).await.expect("open");
    assert_eq!(source.skip(10).await.expect("skipped"), 10);
    let batch = Batch::of(source.part(10).await.expect("a part")).expect("a batch");
    let place = Place { import_id: accepted.id, before: 10 };
    let begun = part::begin(&house.stage.pool, place, &batch).await.expect("begun");
    let written = begun.write(&batch, Way::Copy).await.expect("written, not committed");
    drop(written);

    assert_eq!(house.count("contacts").await, 10);
    assert_eq!(house.run(accepted, 10).await, Report { records: 30, created: 30, ..Report::default() });
}

#[tokio::test]
async fn a_run_whose_lease_is_lost_commits_nothing() {
    let house = House::new().await;
    let accepted = house.upload(people(30)).await;
    let stale = house.claim(accepted).await;
    let mut watch = Watch { stop_at: Some(1), ..Watch::default() };
    house.load(accepted, stale, 10).run(&mut watch).await.expect_err("stopped");
    let current = house.claim(accepted).await;
    for _ in 0..2 {
        let halt = house.load(accepted, stale, 10).run(&mut Watch::default()).await.expect_err("stale");
        assert!(matches!(halt, Halt::Failed(Error::Conflict(_))), "{halt:?}");
    }
    let batch = Batch { records: 10, last: true, ..Batch::default() };
    let place = Place { import_id: accepted.id, before: 10 };
    let begun = part::begin(&house.stage.pool, place, &batch).await.expect("begun");
    let written = begun.write(&batch, Way::Copy).await.expect("written");
    let error = written.commit(stale, &batch).await.expect_err("fenced");
    assert_eq!(error.to_string(), format!("job {} is no longer leased to this run", accepted.job_id));
    assert_eq!(house.count("contacts").await, 10);
    let report = house.load(accepted, current, 10).run(&mut Watch::default()).await.expect("loaded");
    assert_eq!(report.created, 30);
}

#[tokio::test]
async fn two_imports_of_one_file_end_in_one_contact_an_address() {
    let house = House::new().await;
    let mut backwards: Vec<String> = people(2_000).lines().map(str::to_owned).collect();
    backwards[1..].reverse();
    let (one, two) = (house.upload(people(2_000)).await, house.upload(backwards.join("\n")).await);
    let (one, two) = tokio::join!(house.run(one, 150), house.run(two, 170));
    assert_eq!(one.created + two.created, 2_000);
    assert_eq!(one.updated + two.updated, 2_000);
    assert_eq!((house.count("contacts").await, house.count("list_members").await), (2_000, 2_000));
}

#[tokio::test]
async fn a_part_that_meets_a_contact_being_made_waits_and_updates_it() {
    let house = House::new().await;
    let accepted = house.upload(people(30)).await;
    let lease = house.claim(accepted).await;
    let mut transaction = database::begin(&house.stage.pool).await.expect("begun");
    sqlx::query("INSERT INTO contacts (id, workspace_id, email, name) VALUES ($1, $2, 'person0@domain0.test', 'Somebody')")
        .bind(Uuid::now_v7())
        .bind(house.scope.workspace_id)
        .execute(&mut *transaction)
        .await
        .expect("made, not committed");
    let mut watch = Watch::default();
    let import = house.load(accepted, lease, 10).run(&mut watch);
    let maker = async {
        // The import has come to the address once a transaction waits for ours.
        let waits = "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database OR l.database IS NULL
                     WHERE d.datname = current_database() AND l.locktype = 'transactionid' AND NOT l.granted
                       AND l.transactionid = pg_current_xact_id()::xid)";
        while !sqlx::query_scalar::<_, bool>(waits).fetch_one(&mut *transaction).await.expect("asked") {
            tokio::task::yield_now().await;
        }
        transaction.commit().await.expect("committed");
    };
    let (report, ()) = tokio::join!(import, maker);
    assert_eq!(report.expect("loaded"), Report { records: 30, created: 29, updated: 1, ..Report::default() });
    assert_eq!((house.count("contacts").await, house.count("list_members").await), (30, 30));
    assert_eq!(house.people().await[0].name, "Person 0");
}

#[tokio::test]
async fn a_file_that_says_nothing_new_changes_no_contact() {
    let house = House::new().await;
    let first = house.upload(people(20)).await;
    house.run(first, 10).await;
    let changed = async || -> Vec<chrono::DateTime<chrono::Utc>> {
        sqlx::query_scalar("SELECT updated_at FROM contacts ORDER BY email").fetch_all(&house.stage.pool).await.expect("times")
    };
    let before = changed().await;
    sqlx::query("DELETE FROM list_members").execute(&house.stage.pool).await.expect("deleted");
    let again = house.upload(people(20)).await;
    assert_eq!(house.run(again, 10).await, Report { records: 20, updated: 20, ..Report::default() });
    assert_eq!(changed().await, before);
    assert_eq!(house.count("list_members").await, 20, "they join all the same");
}

#[tokio::test]
async fn a_cancelled_import_keeps_what_is_loaded_and_says_so() {
    let house = House::new().await;
    let pool = &house.stage.pool;
    let waiting = house.upload(people(5)).await;
    let import = import::cancel(pool, house.scope, waiting.id).await.expect("cancelled");
    assert_eq!((import.state.as_str(), import.finished_at.is_some()), ("cancelled", true));

    let running = house.upload(people(30)).await;
    let lease = house.claim(running).await;
    house.load(running, lease, 10).run(&mut Watch { stop_at: Some(2), ..Watch::default() }).await.expect_err("stopped");
    assert_eq!(import::cancel(pool, house.scope, running.id).await.expect("asked").state, "running");
    import::cancelled(pool, running.id).await.expect("cancelled");
    let import = import::find(pool, house.scope, running.id).await.expect("there");
    assert_eq!((import.state.as_str(), import.rows_created), ("cancelled", 20));
    assert_eq!(import.failure.as_deref(), Some("cancelled after 20 records; what was loaded stays"));
    assert_eq!(house.count("contacts").await, 20);

    let error = import::cancel(pool, house.scope, waiting.id).await.expect_err("over");
    assert_eq!(error.to_string(), format!("import {} is cancelled, there is nothing to cancel", waiting.id));
    let other = Scope::client(house.stage.workspace("Eve").await);
    assert!(matches!(import::cancel(pool, other, running.id).await, Err(Error::Forbidden(_))));
    assert!(matches!(import::find(pool, other, Uuid::now_v7()).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_file_without_addresses_fails_as_a_whole() {
    let house = House::new().await;
    let accepted = house.upload("name,city\nAda,London\n").await;
    let lease = house.claim(accepted).await;
    let halt = house.load(accepted, lease, 10).run(&mut Watch::default()).await.expect_err("refused");
    let sentence = "the header has no column for the e-mail address; its columns are \"name\", \"city\"";
    assert!(matches!(&halt, Halt::Refused(failure) if failure == sentence), "{halt:?}");
    let import = import::get(&house.stage.pool, accepted.id).await.expect("there");
    assert_eq!((import.state.as_str(), import.failure.as_deref()), ("failed", Some(sentence)));
}

#[tokio::test]
async fn a_file_full_of_quotes_that_are_not_closed_fails_soon_and_keeps_what_came_before() {
    let house = House::new().await;
    // Each line closes the quote of the one before it and opens another.
    let file = format!("email,x\nada@a.test,1\n{}", "a@b.c\"x,\"y\n".repeat(30_000));
    let accepted = house.upload(file).await;
    let lease = house.claim(accepted).await;
    let halt = house.load(accepted, lease, 10).run(&mut Watch::default()).await.expect_err("refused");
    let import = import::get(&house.stage.pool, accepted.id).await.expect("there");
    let failure = import.failure.expect("a sentence");
    assert!(matches!(&halt, Halt::Refused(sentence) if *sentence == failure), "{halt:?}");
    assert!(failure.starts_with("the file has too many quotes that are not closed; line 2"), "{failure}");
    assert_eq!((import.state.as_str(), house.count("contacts").await), ("failed", 1));
}

#[tokio::test]
async fn a_line_that_is_too_long_for_a_record_is_told_as_such() {
    let file = format!("email,x\nada@a.test,{}\n", "x".repeat(300 * 1024));
    let mut source = Source::open(futures::stream::iter([Ok(Bytes::from(file))])).await.expect("open");
    let part = source.part(10).await.expect("a part");
    assert_eq!((part.errors[0].line, part.errors[0].reason.as_str()), (2, "is longer than 262144 bytes"));
}

#[tokio::test]
async fn a_part_is_bounded_in_memory_too_although_each_row_repeats_the_names_of_its_columns() {
    let names: Vec<String> = (0..80).map(|n| format!("{n}{}", "x".repeat(88))).collect();
    let rows: String = (0..5_000).map(|n| format!("p{n}@a.test{}\n", ",1".repeat(80))).collect();
    let file = format!("email,{}\n{rows}", names.join(","));
    let pieces = futures::stream::iter([Ok(Bytes::from(file))]);
    let mut source = Source::open(pieces).await.expect("open");
    let mut read = 0;
    loop {
        let part = source.part(PART_RECORDS).await.expect("a part");
        let bytes: usize = part.rows.iter().map(Row::bytes).sum();
        assert!(bytes < 9 * 1024 * 1024 && part.invalid == 0, "{bytes} bytes");
        read += part.rows.len();
        if part.last {
            break;
        }
    }
    assert_eq!(read, 5_000);
}

#[tokio::test]
async fn an_import_whose_list_is_deleted_fails() {
    let house = House::new().await;
    let accepted = house.upload(people(20)).await;
    sqlx::query("DELETE FROM lists").execute(&house.stage.pool).await.expect("deleted");
    let lease = house.claim(accepted).await;
    let halt = house.load(accepted, lease, 10).run(&mut Watch::default()).await.expect_err("refused");
    assert!(matches!(&halt, Halt::Refused(failure) if failure == "the list of this import was deleted"), "{halt:?}");
    assert_eq!(house.count("contacts").await, 0);
}

#[tokio::test]
async fn a_refused_upload_leaves_nothing() {
    let house = House::new().await;
    for (file, message) in [
        (&b""[..], "file: is empty"),
        (b"\xef\xbb\xbf\r\n \n", "file: is empty: it holds only white space"),
        (b"PK\x03\x04...", "file: is a zip archive or an Excel workbook, not CSV; save it as CSV"),
        (b"email\n\0", "file: is binary, not CSV: it holds NUL bytes"),
    ] {
        let mut upload = house.begin(1000).await;
        upload.write(Bytes::from_static(file)).await.expect("written");
        let error = upload.accept(house.list_id).await.expect_err("refused");
        assert_eq!(error.to_string(), message);
    }
    let mut upload = house.begin(1000).await;
    upload.write(Bytes::from(vec![b'x'; 900])).await.expect("written");
    let error = upload.write(Bytes::from(vec![b'x'; 101])).await.expect_err("too large");
    assert_eq!(error.to_string(), "the body is larger than 1000 bytes");
    upload.discard().await;
    for list_id in [Uuid::now_v7(), house.list_id] {
        let scope = Scope::client(house.stage.workspace("Eve").await);
        let mut upload = Upload::begin(&house.stage.pool, &house.store, scope, "x.csv", 1000).await.expect("begun");
        upload.write(Bytes::from_static(b"email\n")).await.expect("written");
        let error = upload.accept(list_id).await.expect_err("refused");
        assert!(matches!(error, Error::NotFound { .. } | Error::Forbidden(_)), "{error:?}");
    }
    assert_eq!((house.count("imports").await, house.count("jobs").await, objects(&house)), (0, 0, 0));
}

/// Files in the store's folder.
fn objects(house: &House) -> usize {
    let mut folders = vec![url::Url::parse(&house.stage.settings.store.url).expect("an address").to_file_path().expect("a folder")];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
            if entry.is_dir() { folders.push(entry) } else { files += 1 }
        }
    }
    files
}

#[tokio::test]
async fn an_upload_that_never_finished_is_swept_and_nothing_else() {
    let house = House::new().await;
    let accepted = house.upload(people(3)).await;
    let mut gone = house.begin(1000).await;
    gone.write(Bytes::from_static(b"email\n")).await.expect("written");
    drop(gone);
    let mut slow = house.begin(1000).await;
    slow.write(Bytes::from_static(b"email\n")).await.expect("written");

    assert_eq!(sweep::unfinished(&house.stage.pool, &house.store, Duration::from_secs(3600)).await.expect("swept"), 0);
    assert_eq!(sweep::unfinished(&house.stage.pool, &house.store, Duration::ZERO).await.expect("swept"), 2);
    assert!(matches!(slow.accept(house.list_id).await, Err(Error::Conflict(_))));
    assert_eq!((house.count("imports").await, house.count("jobs").await), (1, 1));
    let import = import::get(&house.stage.pool, accepted.id).await.expect("there");
    assert_eq!(house.store.size(&import.object_key).await.expect("asked"), Some(import.size_bytes.unsigned_abs()));
}

#[tokio::test]
async fn an_import_ends_with_its_job() {
    let house = House::new().await;
    let (dead, fine) = (house.upload(people(3)).await, house.upload(people(3)).await);
    sqlx::query("UPDATE jobs SET state = 'dead', finished_at = now() WHERE id = $1")
        .bind(dead.job_id)
        .execute(&house.stage.pool)
        .await
        .expect("dead");
    assert_eq!(sweep::settle(&house.stage.pool).await.expect("settled"), 1);
    let state = async |accepted: Accepted| import::get(&house.stage.pool, accepted.id).await.expect("there").state;
    assert_eq!((state(dead).await.as_str(), state(fine).await.as_str()), ("failed", "queued"));
    assert_eq!(house.run(dead, PART_RECORDS).await.created, 3, "run again, it is loaded");
}
