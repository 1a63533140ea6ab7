//! The shaping rules of this process: read at the start, taken up again whenever the file changes. A file that is wrong changes nothing.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::bail;
use parking_lot::{Mutex, RwLock};
use shared::{PgPool, deliveries::shaping::Rules, operations, settings::Settings};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(2);

/// The rules that hold now.
pub struct RuleBook {
    file: Option<PathBuf>,
    rules: RwLock<Arc<Rules>>,
    seen: Mutex<Seen>,
}

/// What was read last, whether it was taken up or not.
struct Seen {
    text: Option<String>,
    /// It names routes or workspaces that PostgreSQL was not asked for, or did not have: the file may become right without a change.
    again: bool,
}

impl RuleBook {
    /// Reads the file that the settings name.
    ///
    /// # Errors
    /// The file is not there or is wrong: each reason on a line.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let file = Some(settings.sending.shaping.as_str()).filter(|path| !path.is_empty()).map(PathBuf::from);
        let text = file.as_ref().map(std::fs::read_to_string).transpose();
        let text = text.map_err(|error| anyhow::anyhow!("sending.shaping names {}: {error}", settings.sending.shaping))?;
        let rules = Rules::read(text.as_deref())
            .map_err(|reasons| anyhow::anyhow!("sending.shaping {}:\n{}", settings.sending.shaping, reasons.join("\n")))?;
        metrics::gauge!("shaping_file_refused").set(0.0);
        let seen = Seen { text, again: rules.has_targets() };
        Ok(Self { file, rules: RwLock::new(Arc::new(rules)), seen: Mutex::new(seen) })
    }

    /// What holds now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Looks at the file, and takes it up if it says something new. Answers whether it did.
    ///
    /// # Errors
    /// It is gone or wrong, which is said once; or it names a route or a workspace that is not there, or PostgreSQL could not be asked for
    /// them, which is said until it changes. What held goes on.
    pub async fn look(&self, pool: &PgPool) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let text = tokio::fs::read_to_string(file).await?;
        {
            let mut seen = self.seen.lock();
            if seen.text.as_ref() == Some(&text) && !seen.again {
                return Ok(false);
            }
            *seen = Seen { text: Some(text.clone()), again: false };
        }
        let rules = Rules::read(Some(&text)).map_err(|reasons| anyhow::anyhow!(reasons.join("; ")))?;
        if rules.has_targets() {
            self.seen.lock().again = true;
            let unknown = operations::shaping::unknown_targets(pool, &rules).await?;
            if !unknown.is_empty() {
                bail!(unknown.join("; "));
            }
            self.seen.lock().again = false;
        }
        *self.rules.write() = Arc::new(rules);
        Ok(true)
    }

    /// Looks every other second until `over`.
    pub async fn run(self: Arc<Self>, pool: PgPool, over: CancellationToken) {
        let Some(file) = self.file.as_ref().map(|file| file.display().to_string()) else { return };
        let mut ticks = tokio::time::interval(EVERY);
        let mut told = String::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => return,
            }
            match self.look(&pool).await {
                Ok(false) => {}
                Ok(true) => {
                    told.clear();
                    metrics::gauge!("shaping_file_refused").set(0.0);
                    tracing::info!(file, "the shaping file is taken up");
                }
                Err(error) => {
                    metrics::gauge!("shaping_file_refused").set(1.0);
                    let error = format!("{error:#}");
                    if error != told {
                        tracing::error!(file, error, "the shaping file is not taken up; what was read before holds");
                        told = error;
                    }
                }
            }
        }
    }
}
