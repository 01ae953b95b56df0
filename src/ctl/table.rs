//! Columns that stand below each other.
//!
//! On a terminal the last column is cut where the line ends; where a program reads along nothing is ever cut. It is
//! some sixty lines, less than any table library would need to be told to draw no table.

use std::io;

use clap::builder::styling::{Effects, Style};
use unicode_width::UnicodeWidthStr as _;

use super::screen::Screen;

/// Between two columns.
const GAP: &str = "  ";
/// The last column is not cut below this: what does not fit then is wrapped by the terminal.
const LAST_COLUMNS_MIN: usize = 12;

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    style: Style,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: harmless(&text.into()), style: Style::new() }
    }
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { style, ..Self::from(text) }
    }
}

/// Rows below a header, or without one.
#[derive(Debug, Default)]
pub(super) struct Table {
    header: Vec<Cell>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        let bold = Style::new().effects(Effects::BOLD);
        Self { header: header.iter().map(|name| Cell::styled(*name, bold)).collect(), rows: Vec::new() }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn write(&self, screen: &mut Screen<'_>) -> io::Result<()> {
        let lines = || std::iter::once(&self.header).chain(&self.rows).filter(|line| !line.is_empty());
        let columns = lines().map(Vec::len).max().unwrap_or_default();
        let widths: Vec<_> = (0..columns)
            .map(|column| {
                lines().filter_map(|line| line.get(column)).map(|cell| cell.text.width()).max().unwrap_or(0)
            })
            .collect();
        let before_last: usize =
            widths.iter().take(columns.saturating_sub(1)).map(|width| width + GAP.len()).sum();
        let last_max = screen.columns.map(|all| all.saturating_sub(before_last).max(LAST_COLUMNS_MIN));
        for line in lines() {
            let mut written = String::new();
            for (column, cell) in line.iter().enumerate() {
                if column > 0 {
                    written.push_str(GAP);
                }
                if column + 1 == columns {
                    let text = last_max.map_or_else(|| cell.text.clone(), |max| cut(&cell.text, max));
                    written.push_str(&screen.painted(&text, cell.style));
                } else {
                    written.push_str(&screen.painted(&cell.text, cell.style));
                    written.extend(std::iter::repeat_n(' ', widths[column] - cell.text.width()));
                }
            }
            writeln!(screen.out, "{}", written.trim_end())?;
        }
        Ok(())
    }
}

/// `text` in at most `max` columns; that something is missing is shown.
fn cut(text: &str, max: usize) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let mut kept = String::new();
    for character in text.chars() {
        if kept.width() + character.to_string().width() + 1 > max {
            break;
        }
        kept.push(character);
    }
    kept.push('…');
    kept
}

/// What others wrote must not move the cursor.
pub(super) fn harmless(text: &str) -> String {
    let harmful = |c: char| c.is_control();
    if !text.contains(harmful) {
        return text.to_owned();
    }
    text.chars()
        .flat_map(|c| if harmful(c) { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::screen::{Color, Surroundings};
    use super::*;

    fn drawn(columns: Option<usize>, color: Color) -> String {
        let mut table = Table::new(&["NAME", "WHY"]);
        table.row(vec![Cell::from("überlang"), Cell::from("the dependency is away until noon")]);
        let red = clap::builder::styling::AnsiColor::Red.on_default();
        table.row(vec![Cell::styled("a", red), Cell::from("\u{1b}[2J")]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let around = Surroundings { columns, ..Surroundings::default() };
        table.write(&mut Screen::new(&mut out, &mut err, &around, color, false)).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_stand_below_each_other_and_nothing_is_cut_for_a_program() {
        assert_eq!(
            drawn(None, Color::Auto),
            "NAME      WHY\nüberlang  the dependency is away until noon\na         \\u{1b}[2J\n"
        );
    }

    #[test]
    fn on_a_terminal_the_last_column_is_cut() {
        assert!(drawn(Some(30), Color::Auto).contains("überlang  the dependency is a…\n"));
        assert!(drawn(Some(5), Color::Auto).contains("überlang  the depende…\n"));
    }

    #[test]
    fn colours_take_no_columns() {
        assert!(drawn(None, Color::Always).contains("\u{1b}[31ma\u{1b}[0m         \\u{1b}"));
    }
}
