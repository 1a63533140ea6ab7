//! The machine that a figure belongs to.

use serde::Serialize;

/// What a reader must know to compare.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Memory.
    pub memory_gib: u64,
    /// Kernel.
    pub kernel: String,
}

impl Machine {
    /// This one; what cannot be read is `unknown` or 0.
    #[must_use]
    pub fn here() -> Self {
        let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kib: u64 = field(&memory, "MemTotal").split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        Self {
            processor: field(&processors, "model name"),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_gib: kib.div_ceil(1024 * 1024),
            kernel: if kernel.is_empty() { std::env::consts::OS.to_owned() } else { kernel.trim().to_owned() },
        }
    }
}

fn field(text: &str, name: &str) -> String {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(key, _)| key.trim() == name)
        .map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}
