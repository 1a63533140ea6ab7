//! The terminal: one block that is redrawn, or a line a second where there is none.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

const WIDTH: u16 = 46;

/// Where progress is shown.
pub struct Screen {
    redraws: bool,
    lines: usize,
    last: Option<Instant>,
}

impl Default for Screen {
    fn default() -> Self {
        Self { redraws: std::io::stdout().is_terminal(), lines: 0, last: None }
    }
}

impl Screen {
    /// Whether the block is redrawn in place.
    #[must_use]
    pub fn redraws(&self) -> bool {
        self.redraws
    }

    /// Shows `block`, in place of the one before; where nothing can be redrawn, `line`, at most once a second.
    pub fn show(&mut self, block: &[String], line: &str) {
        let mut out = std::io::stdout().lock();
        // A terminal that went away is no reason to stop the campaign: output errors are ignored.
        if self.redraws {
            if self.lines > 0 {
                let _ = write!(out, "\x1b[{}A", self.lines);
            }
            for text in block {
                let _ = writeln!(out, "\x1b[2K{text}");
            }
            self.lines = block.len();
        } else if self.last.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            let _ = writeln!(out, "{line}");
            self.last = Some(Instant::now());
        }
        let _ = out.flush();
    }

    /// What follows is written below the block.
    pub fn keep(&mut self) {
        self.lines = 0;
        self.last = None;
    }
}

/// A bar of fixed width; `share` is 0 to 1.
#[must_use]
pub fn bar(share: f64) -> String {
    let cell = 1.0 / f64::from(WIDTH);
    let mut rest = share.clamp(0.0, 1.0);
    (0..WIDTH)
        .map(|_| {
            let mark = if rest >= cell - 1e-9 { '█' } else { partial(rest / cell).unwrap_or(' ') };
            rest = (rest - cell).max(0.0);
            mark
        })
        .collect()
}

fn partial(share: f64) -> Option<char> {
    [(0.875, '▉'), (0.75, '▊'), (0.625, '▋'), (0.5, '▌'), (0.375, '▍'), (0.25, '▎'), (0.125, '▏')]
        .into_iter()
        .find_map(|(from, mark)| (share >= from).then_some(mark))
}

/// 1234567 as `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds as `4 s` or `3 min 05 s`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.0} s");
    }
    format!("{:.0} min {:02.0} s", (seconds / 60.0).floor(), seconds % 60.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_has_always_the_same_width() {
        for share in [0.0, 0.013, 0.5, 0.999, 1.0, 7.0] {
            assert_eq!(bar(share).chars().count(), usize::from(WIDTH), "at {share}");
        }
        assert_eq!(bar(1.0), "█".repeat(usize::from(WIDTH)));
        assert_eq!(bar(0.0), " ".repeat(usize::from(WIDTH)));
    }

    #[test]
    fn numbers_are_grouped_by_three() {
        assert_eq!(grouped(7), "7");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(duration(185.0), "3 min 05 s");
    }
}
