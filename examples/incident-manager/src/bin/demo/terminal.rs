//! How the story is told.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// The terminal, or whatever stdout is.
pub(crate) struct Terminal {
    started: Instant,
    is_colored: bool,
    pauses: bool,
}

impl Terminal {
    pub(crate) fn new() -> Self {
        let is_set = |variable: &str| std::env::var_os(variable).is_some_and(|value| !value.is_empty());
        Self {
            started: Instant::now(),
            is_colored: std::io::stdout().is_terminal() && !is_set("NO_COLOR"),
            pauses: is_set("PAUSE"),
        }
    }

    /// A new act. Waits for Enter before, if it was asked to.
    pub(crate) async fn act(&self, title: &str) {
        if self.pauses {
            println!("\n{}", self.colored("2", "          Press Enter to go on."));
            enter().await;
        }
        println!("\n{}", self.colored("1", title));
    }

    /// What happens.
    pub(crate) fn say(&self, text: &str) {
        println!("{}  {text}", self.time());
    }

    /// Something came true.
    pub(crate) fn came_true(&self, text: &str) {
        println!("{}  {} {text}", self.time(), self.colored("32", "✓"));
    }

    /// Something did not.
    pub(crate) fn failed(&self, text: &str) {
        println!("{}  {} {text}", self.time(), self.colored("31", "✗"));
    }

    /// A table, below the query that it comes from.
    pub(crate) fn table(&self, query: &str, rows: &[Vec<String>]) {
        for line in query.lines() {
            println!("  {}", self.colored("36", line));
        }
        let columns = rows.first().map_or(0, Vec::len);
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for (index, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let line = cells.collect::<Vec<_>>().join("  ");
            println!(
                "  {}",
                if index == 0 { self.colored("1", line.trim_end()) } else { line.trim_end().to_owned() }
            );
        }
    }

    fn time(&self) -> String {
        self.colored("2", &format!("{:6.1} s", self.started.elapsed().as_secs_f64()))
    }

    fn colored(&self, code: &str, text: &str) -> String {
        if self.is_colored { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Waits for a line, on a thread that an interrupted demo does not wait for.
async fn enter() {
    let (entered, waits) = oneshot::channel();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        let _ = entered.send(());
    });
    let _ = waits.await;
}

/// For people: `3 ms`, `1.5 s`.
pub(crate) fn duration(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}
