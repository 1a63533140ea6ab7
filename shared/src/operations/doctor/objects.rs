//! The object store: can be written, read and cleared; a local one has room.

use std::time::Duration;

use uuid::Uuid;

use super::Check;
use crate::{settings, store::Store};

const PATIENCE: Duration = Duration::from_secs(15);
const GIB: u64 = 1 << 30;

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
        checks.push(match rustix::fs::statvfs(&folder) {
            Ok(disk) => room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize),
            Err(error) => {
                Check::warn("disk", format!("{} cannot be asked: {error}", folder.display()), "look at the folder's disk")
            }
        });
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

/// The rule: a tenth or a gibibyte, whichever is less, and never below 100 MiB.
fn room(free: u64, size: u64) -> Check {
    let says = format!("{:.1} GiB of {:.1} GiB are free", gib(free), gib(size));
    let mend = "make room: retention.uploads_days says how long files of imports are kept";
    if free < GIB / 10 {
        Check::fail("disk", says, mend)
    } else if free < GIB.min(size / 10) {
        Check::warn("disk", says, mend)
    } else {
        Check::ok("disk", says)
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn gib(bytes: u64) -> f64 {
    bytes as f64 / GIB as f64
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, *};

    #[test]
    fn a_full_disk_fails_before_it_is_full() {
        assert_eq!(
            [GIB / 20, GIB / 2, 2 * GIB].map(|free| room(free, 100 * GIB).verdict),
            [Verdict::Fail, Verdict::Warn, Verdict::Ok]
        );
    }
}
