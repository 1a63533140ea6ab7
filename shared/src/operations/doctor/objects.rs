//! The object store: can be written, read and cleared; a local one has room.

use std::time::Duration;

use uuid::Uuid;

use super::{Check, process};
use crate::{settings, store::Store};

const PATIENCE: Duration = Duration::from_secs(15);

/// Looks: writes an object of a few bytes, reads it and removes it.
pub async fn look(settings: &settings::Store) -> Vec<Check> {
    let mend = "correct [store] in the settings, or give this user the right to write there";
    let store = match Store::from_settings(settings) {
        Ok(store) => store,
        Err(error) => return vec![Check::fail("store", error.to_string(), mend)],
    };
    let mut checks = vec![match tokio::time::timeout(PATIENCE, probe(&store)).await {
        Ok(Ok(())) => Check::ok("store", format!("{} takes, gives and forgets", settings.url)),
        Ok(Err(error)) => Check::fail("store", error, mend),
        Err(_) => Check::fail("store", format!("no answer within {} s", PATIENCE.as_secs()), mend),
    }];
    if let Some(folder) =
        url::Url::parse(&settings.url).ok().filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok())
    {
        checks.push(process::disk(
            "store.disk",
            &folder,
            "make room: retention.uploads_days says how long files of imports are kept",
        ));
    }
    checks
}

async fn probe(store: &Store) -> Result<(), String> {
    let key = format!("doctor/{}", Uuid::now_v7());
    let text = |error: crate::store::StoreError| error.to_string();
    let mut writer = store.writer(&key);
    writer.write("mochila".into()).await.map_err(text)?;
    writer.finish().await.map_err(text)?;
    let read = store.read_all(&key).await.map_err(text)?;
    store.delete(&key).await.map_err(text)?;
    if read == b"mochila" { Ok(()) } else { Err("what was read is not what was written".to_owned()) }
}
