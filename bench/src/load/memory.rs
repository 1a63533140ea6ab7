//! Memory of processes, from `/proc`; nothing is measured on systems without it.

/// The most memory that the process has held at once since it began or since [`forget_peak`], in MiB (`VmHWM`).
#[must_use]
pub fn peak_mib(pid: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    peak_in(&status)
}

/// The peak counts from now on (see proc(5), `clear_refs`); a process of somebody else keeps its old one.
pub fn forget_peak(pid: u32) {
    let _ = std::fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

fn peak_in(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap_or(0.0);
    kib / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_in_mebibytes() {
        assert!((peak_in("VmPeak:\t  9 kB\nVmHWM:\t   58368 kB\nVmRSS:\t 1 kB\n") - 57.0).abs() < 1e-9);
    }
}
