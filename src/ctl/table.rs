//! Columns that stand below each other.
//!
//! Where a program reads along, and with `--wide`, nothing is ever left out. On a terminal a table is made to fit, in
//! this order and no further than it must: cells that have a shorter text show that; columns that matter least are left
//! out; those that may be cut are; the last one, which says why, is cut where the line ends. It is less than any table
//! library would need to be told to draw no table.

use std::io;

use clap::builder::styling::{Effects, Style};
use unicode_width::UnicodeWidthStr as _;

use super::screen::Screen;

/// Between two columns.
const GAP: &str = "  ";
/// The last column is not cut below this: what does not fit then is wrapped by the terminal.
const LAST_COLUMNS_MIN: usize = 12;
/// What the last column is given before others keep their room: a reason and the one who gave it.
const LAST_COLUMNS_WANTED: usize = 36;

/// One cell.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    text: String,
    /// What is shown where the whole text has no room.
    short: Option<String>,
    style: Style,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: harmless(&text.into()), short: None, style: Style::new() }
    }
}

impl Cell {
    pub(super) fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { style, ..Self::from(text) }
    }

    /// A time to the millisecond; where there is little room, without its year and its milliseconds.
    pub(super) fn time(text: impl Into<String>) -> Self {
        let cell = Self::from(text);
        let short = cell.text.get("2026-".len().."2026-11-24 10:14:57".len()).map(str::to_owned);
        Self { short, ..cell }
    }
}

/// What becomes of a column where the table does not fit the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Narrow {
    /// It stays whole.
    Keep,
    /// It is cut, but not below this.
    Cut(usize),
    /// It is left out; those with the lowest rank first.
    Drop(u8),
}

/// A column's name, and what becomes of it on a narrow terminal.
pub(super) type Column = (&'static str, Narrow);

/// Rows below a header, or without one.
#[derive(Debug, Default)]
pub(super) struct Table {
    header: Vec<Cell>,
    narrow: Vec<Narrow>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        let bold = Style::new().effects(Effects::BOLD);
        Self {
            header: columns.iter().map(|(name, _)| Cell::styled(*name, bold)).collect(),
            narrow: columns.iter().map(|(_, narrow)| *narrow).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn write(&self, screen: &mut Screen<'_>) -> io::Result<()> {
        let fit = self.fit(screen.columns);
        for line in self.lines() {
            let mut written = String::new();
            let shown: Vec<_> =
                line.iter().zip(&fit.widths).filter_map(|(cell, width)| Some((cell, (*width)?))).collect();
            for (column, (cell, width)) in shown.iter().enumerate() {
                let text = cut(fit.text(cell), *width);
                written.push_str(&screen.painted(&text, cell.style));
                if column + 1 < shown.len() {
                    written.extend(std::iter::repeat_n(' ', width - text.width()));
                    written.push_str(GAP);
                }
            }
            writeln!(screen.out, "{}", written.trim_end())?;
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<Cell>> {
        std::iter::once(&self.header).chain(&self.rows).filter(|line| !line.is_empty())
    }

    /// How wide each column becomes on a terminal of so many columns; none: it is no terminal.
    fn fit(&self, terminal: Option<usize>) -> Fit {
        let mut fit = Fit { short: false, widths: Vec::new() };
        fit.widths = self.widths(&fit);
        let Some(room) = terminal.filter(|room| fit.total() > *room) else { return fit };
        fit.short = true;
        fit.widths = self.widths(&fit);
        let Some(last) = fit.widths.len().checked_sub(1) else { return fit };
        // What the last column wants is kept free for it, the rest is the others'.
        let wanted = fit.widths[last].unwrap_or_default().min(LAST_COLUMNS_WANTED);
        let over =
            |fit: &Fit| (fit.total() - fit.widths[last].unwrap_or_default() + wanted).saturating_sub(room);
        let mut droppable: Vec<_> = self
            .narrow
            .iter()
            .enumerate()
            .filter_map(|(column, narrow)| match narrow {
                Narrow::Drop(rank) => Some((*rank, column)),
                Narrow::Keep | Narrow::Cut(_) => None,
            })
            .collect();
        droppable.sort_unstable();
        for (_, column) in droppable {
            if over(&fit) > 0 {
                fit.widths[column] = None;
            }
        }
        for (column, narrow) in self.narrow.iter().enumerate().filter(|(column, _)| *column != last) {
            let (Narrow::Cut(min), Some(width)) = (narrow, fit.widths[column]) else { continue };
            fit.widths[column] = Some(width.saturating_sub(over(&fit)).max(width.min(*min)));
        }
        let before_last = fit.total() - fit.widths[last].unwrap_or_default();
        let left = room.saturating_sub(before_last).max(LAST_COLUMNS_MIN);
        fit.widths[last] = fit.widths[last].map(|width| width.min(left));
        fit
    }

    fn widths(&self, fit: &Fit) -> Vec<Option<usize>> {
        let columns = self.lines().map(Vec::len).max().unwrap_or_default();
        let width = |column| {
            self.lines().filter_map(|line| line.get(column)).map(|cell| fit.text(cell).width()).max()
        };
        (0..columns).map(width).collect()
    }
}

/// A table made to fit.
struct Fit {
    short: bool,
    /// Of each column; none: it is left out.
    widths: Vec<Option<usize>>,
}

impl Fit {
    fn text<'a>(&self, cell: &'a Cell) -> &'a str {
        cell.short.as_deref().filter(|_| self.short).unwrap_or(&cell.text)
    }

    fn total(&self) -> usize {
        let shown = self.widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP.len() * shown.count().saturating_sub(1)
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
        let mut table = Table::new(&[("NAME", Narrow::Keep), ("WHY", Narrow::Keep)]);
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

    #[test]
    fn a_narrow_terminal_costs_what_matters_least_and_keeps_why() {
        let mut table = Table::new(&[
            ("TIME", Narrow::Keep),
            ("ACTOR", Narrow::Cut(6)),
            ("REVISION", Narrow::Drop(1)),
            ("EPOCH", Narrow::Drop(0)),
            ("WHY", Narrow::Keep),
        ]);
        let why = "3 failures in a row, from 2 callers, as it was on Monday";
        let time = "2026-11-24 10:14:57.622Z";
        table.row(
            [Cell::time(time)]
                .into_iter()
                .chain(["ada@example.com", "41", "7", why].map(Cell::from))
                .collect(),
        );
        let second_line = |columns| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let around = Surroundings { columns, ..Surroundings::default() };
            table.write(&mut Screen::new(&mut out, &mut err, &around, Color::Never, false)).unwrap();
            String::from_utf8(out).unwrap().lines().nth(1).unwrap().to_owned()
        };
        let whole = format!("{time}  ada@example.com  41        7      {why}");
        assert_eq!(second_line(None), whole);
        assert_eq!(second_line(Some(whole.width())), whole, "it fits");
        let narrower =
            "11-24 10:14:57  ada@example.com  41        7      3 failures in a row, from 2 callers,…";
        assert_eq!(second_line(Some(narrower.width())), narrower, "times are shortened first");
        assert_eq!(
            second_line(Some(80)),
            "11-24 10:14:57  ada@example.com  41        3 failures in a row, from 2 callers,…"[..].to_owned()
        );
        assert_eq!(second_line(Some(60)), "11-24 10:14:57  ada@e…  3 failures in a row, from 2 callers…");
    }
}
