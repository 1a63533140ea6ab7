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
    /// What was read last, whether it was taken up or not.
    seen: Mutex<Option<String>>,
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
        Ok(Self { file, rules: RwLock::new(Arc::new(rules)), seen: Mutex::new(text) })
    }

    /// What holds now.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.rules.read().clone()
    }

    /// Looks at the file, and takes it up if it says something new. Answers whether it did.
    ///
    /// # Errors
    /// It is gone or wrong, or names a route or a workspace that is not there: what held goes on.
    pub async fn look(&self, pool: &PgPool) -> anyhow::Result<bool> {
        let Some(file) = &self.file else { return Ok(false) };
        let text = tokio::fs::read_to_string(file).await?;
        if self.seen.lock().as_ref() == Some(&text) {
            return Ok(false);
        }
        // Wrong or right, it is told once.
        *self.seen.lock() = Some(text.clone());
        let mut reasons = Vec::new();
        match Rules::read(Some(&text)) {
            Err(wrong) => reasons = wrong,
            Ok(rules) => {
                reasons.extend(operations::shaping::unknown_targets(pool, &rules).await?);
                if reasons.is_empty() {
                    *self.rules.write() = Arc::new(rules);
                    return Ok(true);
                }
            }
        }
        bail!(reasons.join("; "))
    }

    /// Looks every other second until `over`.
    pub async fn run(self: Arc<Self>, pool: PgPool, over: CancellationToken) {
        let Some(file) = self.file.as_ref().map(|file| file.display().to_string()) else { return };
        // What the start could not ask PostgreSQL about.
        match operations::shaping::unknown_targets(&pool, &self.rules()).await {
            Ok(unknown) if unknown.is_empty() => {}
            Ok(unknown) => {
                metrics::gauge!("shaping_file_refused").set(1.0);
                tracing::error!(file, reasons = unknown.join("; "), "parts of the shaping file match nothing");
            }
            Err(error) => tracing::warn!(%error, "could not look up the routes that the shaping file names"),
        }
        let mut ticks = tokio::time::interval(EVERY);
        let mut told_of_absence = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = over.cancelled() => return,
            }
            match self.look(&pool).await {
                Ok(false) => {}
                Ok(true) => {
                    told_of_absence = false;
                    metrics::gauge!("shaping_file_refused").set(0.0);
                    tracing::info!(file, "the shaping file is taken up");
                }
                Err(error) => {
                    let absent = error.is::<std::io::Error>();
                    metrics::gauge!("shaping_file_refused").set(1.0);
                    if !(absent && told_of_absence) {
                        tracing::error!(
                            file,
                            error = format!("{error:#}"),
                            "the shaping file is refused; the rules from before hold"
                        );
                    }
                    told_of_absence = absent;
                }
            }
        }
    }
}
