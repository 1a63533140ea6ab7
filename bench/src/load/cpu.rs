//! Processor time of processes, from `/proc`; nothing is measured on systems without it.

use std::collections::BTreeMap;

/// Linux counts processor time for user space in hundredths of a second on every architecture (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Whom to measure: a name, its processes, and whether their children count.
#[derive(Clone, Debug)]
pub struct Group {
    /// For the table.
    pub name: &'static str,
    /// Their ids.
    pub pids: Vec<u32>,
    /// A PostgreSQL backend is a child of the postmaster.
    pub with_children: bool,
}

/// Seconds of processor time that each group has spent since its processes began.
#[must_use]
pub fn seconds(groups: &[Group]) -> BTreeMap<&'static str, f64> {
    let all = if groups.iter().any(|group| group.with_children) { every_process() } else { Vec::new() };
    groups
        .iter()
        .map(|group| {
            let own: f64 = group.pids.iter().filter_map(|pid| stat_of(*pid)).map(|stat| stat.spent(group.with_children)).sum();
            let children: f64 = all
                .iter()
                .filter(|stat| group.with_children && group.pids.contains(&stat.parent))
                .map(|stat| stat.spent(true))
                .sum();
            (group.name, own + children)
        })
        .collect()
}

struct Stat {
    parent: u32,
    own_ticks: f64,
    reaped_ticks: f64,
}

impl Stat {
    fn spent(&self, with_reaped_children: bool) -> f64 {
        let ticks = if with_reaped_children { self.own_ticks + self.reaped_ticks } else { self.own_ticks };
        ticks / TICKS_PER_SECOND
    }
}

fn stat_of(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// See proc(5): the name in brackets may hold spaces; after it come the state, the parent and, as 14th to 17th field, the ticks.
fn parse(line: &str) -> Option<Stat> {
    let fields: Vec<&str> = line.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some(Stat { parent: fields.get(1)?.parse().ok()?, own_ticks: ticks(11)? + ticks(12)?, reaped_ticks: ticks(13)? + ticks(14)? })
}

fn every_process() -> Vec<Stat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter_map(stat_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_is_no_obstacle() {
        let line = "42 (postgres: w) 1 (x)) S 7 42 42 0 -1 4194560 9 0 0 0 250 50 30 20 20 0 1 0 100 200 300";
        let stat = parse(line).expect("well-formed");
        assert_eq!(stat.parent, 7);
        assert!((stat.spent(false) - 3.0).abs() < 1e-9);
        assert!((stat.spent(true) - 3.5).abs() < 1e-9);
    }
}
