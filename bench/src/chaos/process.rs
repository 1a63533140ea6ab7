//! A process that is started, frozen and killed here.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// A running program.
pub struct Process {
    name: String,
    child: Child,
    pid_file: PathBuf,
}

/// How to start one.
pub struct Program<'a> {
    /// What it is called here: names its log and its pid file.
    pub name: &'a str,
    /// The executable.
    pub path: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables besides the inherited ones.
    pub environment: Vec<(&'static str, String)>,
}

impl Process {
    /// Starts it; what it says is appended to `NAME.log` in `logs`. Its pid is left in `pids`, so that `deploy/local down` finds it
    /// should we be killed ourselves.
    ///
    /// # Errors
    /// It could not be started.
    pub fn start(program: Program<'_>, logs: &Path, pids: &Path) -> Result<Self> {
        let log = logs.join(format!("{}.log", program.name));
        let out =
            OpenOptions::new().create(true).append(true).open(&log).with_context(|| format!("failed to open {}", log.display()))?;
        let child = Command::new(&program.path)
            .args(&program.arguments)
            .envs(program.environment)
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            // Ctrl-C is for us: we stop it in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {}", program.path.display()))?;
        let pid_file = pids.join(program.name);
        std::fs::write(&pid_file, child.id().unwrap_or_default().to_string())?;
        Ok(Self { name: program.name.to_owned(), child, pid_file })
    }

    /// What it is called here.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id; none once it has ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let raw = self.child.id().with_context(|| format!("{} has ended by itself", self.name))?;
        let pid = Pid::from_raw(i32::try_from(raw)?).context("a pid is positive")?;
        kill_process(pid, signal).with_context(|| format!("failed to signal {}", self.name))
    }

    /// `kill -9`, and waits until it is gone.
    ///
    /// # Errors
    /// It has ended already.
    pub async fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.child.wait().await?;
        self.forget();
        Ok(())
    }

    /// SIGTERM; returns how it ended.
    ///
    /// # Errors
    /// It did not end within `patience` (it is killed then), or not with exit code 0.
    pub async fn terminate(mut self, patience: Duration) -> Result<()> {
        self.signal(Signal::TERM)?;
        let ended = tokio::time::timeout(patience, self.child.wait()).await;
        let Ok(status) = ended else {
            self.child.kill().await?;
            self.forget();
            bail!("{} did not end within {} s of SIGTERM", self.name, patience.as_secs());
        };
        self.forget();
        let status = status?;
        if !status.success() {
            bail!("{} ended with {status} after SIGTERM", self.name);
        }
        Ok(())
    }

    /// Fails if it has ended by itself.
    ///
    /// # Errors
    /// It has ended.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself with {status}", self.name),
        }
    }

    fn forget(&self) {
        // A pid file that is left behind names a process that is gone: harmless.
        let _ = std::fs::remove_file(&self.pid_file);
    }
}
