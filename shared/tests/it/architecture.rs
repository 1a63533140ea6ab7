//! What the compiler cannot keep: which way domains import, what a table must have, what a crate must not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use shared::testing::Stage;

/// From the bottom up: a domain may use those before it.
const DOMAINS: [&str; 15] = [
    "accounts",
    "idempotency",
    "queue",
    "members",
    "suppressions",
    "contacts",
    "routes",
    "sending_domains",
    "deliveries",
    "bounces",
    "campaigns",
    "messages",
    "feedback",
    "imports",
    "operations",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// First segments of every `crate::…` path, also inside `crate::{…}`.
fn imports(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let ident = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    for part in source.split("crate::").skip(1) {
        let Some(list) = part.strip_prefix('{') else {
            names.insert(ident(part));
            continue;
        };
        let mut depth = 0;
        let mut item = String::new();
        for c in list.chars() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    names.insert(ident(&item));
                    item.clear();
                    continue;
                }
                _ => {}
            }
            item.push(c);
        }
        names.insert(ident(&item));
    }
    names
}

#[test]
fn domains_import_downwards_only() {
    let mut upward = Vec::new();
    for (rank, domain) in DOMAINS.iter().enumerate() {
        for file in sources(&root().join("shared/src").join(domain)) {
            let source = fs::read_to_string(&file).expect("a source");
            for used in imports(&source) {
                if DOMAINS.iter().position(|other| *other == used).is_some_and(|other| other > rank) {
                    upward.push(format!("{} uses {used}", file.strip_prefix(root()).expect("inside").display()));
                }
            }
        }
    }
    assert_eq!(upward, Vec::<String>::new());
}

#[test]
fn only_shared_speaks_sql_and_only_the_worker_knows_apalis_workers() {
    for (manifest, banned) in [
        ("api/Cargo.toml", &["sqlx", "lettre", "apalis.workspace", "mochila-worker"][..]),
        ("worker/Cargo.toml", &["sqlx", "mochila-api"][..]),
        ("shared/Cargo.toml", &["axum", "apalis.workspace"][..]),
    ] {
        let text = fs::read_to_string(root().join(manifest)).expect("a manifest");
        let dependencies = text.split("[dev-dependencies]").next().expect("a part");
        for name in banned {
            assert!(!dependencies.lines().any(|line| line.starts_with(name)), "{manifest} must not depend on {name}");
        }
    }
    let pushers: Vec<PathBuf> = ["api/src", "worker/src", "shared/src"]
        .iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .filter(|file| fs::read_to_string(file).expect("a source").contains("push_tasks"))
        .map(|file| file.strip_prefix(root()).expect("inside").to_owned())
        .collect();
    assert_eq!(pushers, [PathBuf::from("shared/src/queue/ticket.rs")]);
}

#[tokio::test]
async fn every_table_says_when_its_rows_were_made_and_changed() {
    let stage = Stage::new().await;
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT c.table_name::text, c.column_name::text FROM information_schema.columns c
         JOIN information_schema.tables t USING (table_schema, table_name)
         WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.table_name <> '_sqlx_migrations'",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    let mut tables: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (table, column) in rows {
        tables.entry(table).or_default().insert(column);
    }
    assert!(tables.len() > 15);
    let lacking: Vec<&String> = tables
        .iter()
        .filter(|(_, columns)| !columns.contains("created_at") || !columns.contains("updated_at"))
        .map(|(t, _)| t)
        .collect();
    assert_eq!(lacking, Vec::<&String>::new());
}

#[tokio::test]
async fn every_reference_is_a_foreign_key_but_for_the_listed_exceptions() {
    let stage = Stage::new().await;
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT c.table_name || '.' || c.column_name FROM information_schema.columns c
         WHERE c.table_schema = 'public' AND c.data_type = 'uuid' AND c.column_name LIKE '%\\_id' AND c.table_name NOT LIKE 'deliveries\\_%'
           AND NOT EXISTS (
             SELECT 1 FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
             WHERE k.contype = 'f' AND k.conrelid = c.table_name::regclass AND a.attname = c.column_name)
         ORDER BY 1",
    )
    .fetch_all(&stage.pool)
    .await
    .unwrap();
    // Checked once a statement by triggers: contacts.workspace_id, list_members (migrations/0013_membership.sql).
    // The ledger outlives contacts, chunks and routes, what came back outlives the ledger; a job may outlive its campaign, an attempt its worker.
    assert_eq!(
        found,
        [
            "contacts.workspace_id",
            "deliveries.campaign_id",
            "deliveries.chunk_id",
            "deliveries.contact_id",
            "deliveries.route_id",
            "feedback_events.campaign_id",
            "feedback_events.contact_id",
            "feedback_events.message_id",
            "job_attempts.worker_id",
            "jobs.campaign_id",
            "list_members.contact_id",
            "list_members.list_id"
        ]
    );
}
