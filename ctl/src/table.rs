//! Tables of aligned columns.
//!
//! For a program, and with `--wide`, nothing is ever left out. On a terminal a table is made to fit, in
//! this order and no further than it must: cells that have a shorter text show that; columns that matter least are left
//! out. Where that is not enough, what says why (a reason, a change) is written below its row, wrapped at the end of the
//! line, and the columns that were left out for it are back as far as they fit. Only then are names cut. It is less code than
//! the configuration that a table library would need to draw no borders.

use std::io;

use clap::builder::styling::{Effects, Style};
use unicode_width::UnicodeWidthStr as _;

use super::screen::Screen;

/// Between two columns.
const GAP: &str = "  ";
/// The indent of a cell that is written below its row.
const INDENT: &str = "    ";
/// Between two texts below the same row.
const JOINT: &str = "; ";
/// Lines that are written below one row at most: what a file declares is as long as the file.
const LINES_BELOW_MAX: usize = 4;
/// What does not fit is not wrapped within a narrower column than this: the terminal wraps it.
const WRAPPED_MIN: usize = 24;

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
        Self { text: escape_control(&text.into()), short: None, style: Style::new() }
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
    /// It is left out; those with the lowest rank first.
    Drop(u8),
    /// It is written below its row. All columns behind the first such one are.
    Below,
    /// It is cut in the middle, but not below this, when nothing else is left.
    Cut(usize),
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

    /// One row, without a header: one of many that are written as they come.
    pub(super) fn line(cells: impl IntoIterator<Item = (Cell, Narrow)>) -> Self {
        let (cells, narrow) = cells.into_iter().unzip();
        Self { header: Vec::new(), narrow, rows: vec![cells] }
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
            let shown: Vec<_> =
                line.iter().zip(&fit.widths).filter_map(|(cell, width)| Some((cell, (*width)?))).collect();
            let mut written = String::new();
            let mut indent = 0;
            for (column, (cell, width)) in shown.iter().enumerate() {
                let text = cut_in_the_middle(fit.text(cell), *width);
                if column + 1 < shown.len() {
                    written.push_str(&screen.painted(&text, cell.style));
                    written.extend(std::iter::repeat_n(' ', width - text.width()));
                    written.push_str(GAP);
                    indent += width + GAP.len();
                    continue;
                }
                let mut lines = fit.last_lines(&text, indent).into_iter();
                written.push_str(&screen.painted(&lines.next().unwrap_or_default(), cell.style));
                for line in lines {
                    written.push('\n');
                    written.extend(std::iter::repeat_n(' ', indent));
                    written.push_str(&screen.painted(&line, cell.style));
                }
            }
            writeln!(screen.out, "{}", written.trim_end())?;
            if let Some((first, room)) = fit.below {
                let texts: Vec<_> = line.iter().skip(first).map(|cell| &*cell.text).collect();
                for line in below(&texts, room) {
                    writeln!(screen.out, "{INDENT}{line}")?;
                }
            }
        }
        Ok(())
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<Cell>> {
        std::iter::once(&self.header).chain(&self.rows).filter(|line| !line.is_empty())
    }

    /// How the table is drawn on a terminal of so many columns; none: it is no terminal.
    fn fit(&self, terminal: Option<usize>) -> Fit {
        let mut fit = Fit::default();
        fit.widths = self.widths(&fit);
        let Some(room) = terminal.filter(|room| fit.total() > *room) else { return fit };
        fit.short = true;
        fit.widths = self.widths(&fit);
        let whole = fit.widths.clone();
        self.drop_until(&mut fit, room);
        if fit.total() <= room {
            return fit;
        }
        match self.narrow.iter().position(|narrow| *narrow == Narrow::Below) {
            Some(first) => {
                fit.widths = whole;
                fit.widths[first..].fill(None);
                fit.below = Some((first, room.saturating_sub(INDENT.len()).max(WRAPPED_MIN)));
                self.drop_until(&mut fit, room);
            }
            None => fit.wrap_last = Some(room),
        }
        for (column, narrow) in self.narrow.iter().enumerate() {
            let over = fit.total().saturating_sub(room);
            if let (Narrow::Cut(min), Some(width)) = (narrow, fit.widths[column]) {
                fit.widths[column] = Some(width.saturating_sub(over).max(width.min(*min)));
            }
        }
        fit
    }

    /// Leaves out what may be, until the rest fits.
    fn drop_until(&self, fit: &mut Fit, room: usize) {
        let mut droppable: Vec<_> = self
            .narrow
            .iter()
            .enumerate()
            .filter_map(|(column, narrow)| match narrow {
                Narrow::Drop(rank) => Some((*rank, column)),
                Narrow::Keep | Narrow::Below | Narrow::Cut(_) => None,
            })
            .collect();
        droppable.sort_unstable();
        for (_, column) in droppable {
            if fit.total() > room {
                fit.widths[column] = None;
            }
        }
    }

    fn widths(&self, fit: &Fit) -> Vec<Option<usize>> {
        let columns = self.lines().map(Vec::len).max().unwrap_or_default();
        let width = |column| {
            self.lines().filter_map(|line| line.get(column)).map(|cell| fit.text(cell).width()).max()
        };
        (0..columns).map(width).collect()
    }
}

/// How a table is drawn.
#[derive(Debug, Default)]
struct Fit {
    short: bool,
    /// Of each column; none: it is left out.
    widths: Vec<Option<usize>>,
    /// The first column that is written below its row, and the columns that there are for it.
    below: Option<(usize, usize)>,
    /// The last column is wrapped at the end of a line of so many columns.
    wrap_last: Option<usize>,
}

impl Fit {
    fn text<'a>(&self, cell: &'a Cell) -> &'a str {
        cell.short.as_deref().filter(|_| self.short).unwrap_or(&cell.text)
    }

    fn total(&self) -> usize {
        let shown = self.widths.iter().flatten();
        shown.clone().sum::<usize>() + GAP.len() * shown.count().saturating_sub(1)
    }

    /// The text of the last column, which begins behind `indent` columns.
    fn last_lines(&self, text: &str, indent: usize) -> Vec<String> {
        match self.wrap_last.map(|room| room.saturating_sub(indent)) {
            Some(room) if room >= WRAPPED_MIN => wrap(text, room),
            _ => vec![text.to_owned()],
        }
    }
}

/// What is written below a row: the texts that are not empty, one after the other.
fn below(texts: &[&str], room: usize) -> Vec<String> {
    let nonempty: Vec<_> = texts.iter().copied().filter(|text| !matches!(*text, "" | "-")).collect();
    let mut lines = wrap(&nonempty.join(JOINT), room);
    if lines.len() > LINES_BELOW_MAX {
        lines.truncate(LINES_BELOW_MAX);
        if let Some(last) = lines.last_mut() {
            *last = cut(&format!("{last} …"), room);
        }
    }
    lines
}

/// `text` in lines of at most `max` columns, broken between words where that is possible. None for an empty text.
fn wrap(text: &str, max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= max => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
        // One that is longer than a line is broken anywhere.
        while let Some(line) = lines.last_mut().filter(|line| line.width() > max) {
            let mut width = 0;
            let end = line.char_indices().find_map(|(at, character)| {
                width += character.to_string().width();
                (width > max).then_some(at)
            });
            let Some(end) = end.filter(|end| *end > 0) else { break };
            let rest = line.split_off(end);
            lines.push(rest);
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
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

/// `text` in at most `max` columns, by its beginning and its end: names that belong together differ at the end.
fn cut_in_the_middle(text: &str, max: usize) -> String {
    if text.width() <= max {
        return text.to_owned();
    }
    let width = |character: char| character.to_string().width();
    let room = max.saturating_sub(1);
    let mut end = String::new();
    for character in text.chars().rev() {
        if end.width() + width(character) > room.div_ceil(2) {
            break;
        }
        end.insert(0, character);
    }
    let mut kept = String::new();
    for character in text.chars() {
        if kept.width() + width(character) + end.width() > room {
            break;
        }
        kept.push(character);
    }
    format!("{kept}…{end}")
}

/// Escapes control characters: text written by others must not move the cursor.
pub(super) fn escape_control(text: &str) -> String {
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
    use super::super::screen::{Color, Environment};
    use super::*;

    fn drawn(columns: Option<usize>, color: Color) -> String {
        let mut table = Table::new(&[("NAME", Narrow::Keep), ("WHY", Narrow::Keep)]);
        table.row(vec![Cell::from("überlang"), Cell::from("the dependency is away until noon")]);
        let red = clap::builder::styling::AnsiColor::Red.on_default();
        table.row(vec![Cell::styled("a", red), Cell::from("\u{1b}[2J")]);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let environment = Environment { columns, ..Environment::default() };
        table.write(&mut Screen::new(&mut out, &mut err, &environment, color, false)).unwrap();
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
    fn on_a_terminal_the_last_column_is_wrapped_and_never_cut() {
        let wrapped =
            "NAME      WHY\nüberlang  the dependency is away\n          until noon\na         \\u{1b}[2J\n";
        assert_eq!(drawn(Some(36), Color::Auto), wrapped);
        assert!(drawn(Some(20), Color::Auto).contains("überlang  the dependency is away until noon\n"));
    }

    #[test]
    fn what_is_longer_than_a_line_is_broken() {
        assert_eq!(wrap("ab cd efghijk l", 5), ["ab cd", "efghi", "jk l"]);
        assert_eq!(wrap("äöü", 2), ["äö", "ü"]);
        assert_eq!(wrap("", 2), Vec::<String>::new());
        let lines = below(&["", "-", &"word ".repeat(100)], 24);
        assert_eq!(lines.len(), LINES_BELOW_MAX);
        assert!(lines[3].ends_with('…') && lines.iter().all(|line| line.width() <= 24), "{lines:?}");
    }

    #[test]
    fn a_name_is_cut_where_names_do_not_differ() {
        assert_eq!(cut_in_the_middle("payments/eu-west-1/replica-07", 15), "payment…lica-07");
        assert_eq!(cut_in_the_middle("payments", 8), "payments");
        assert_eq!(cut_in_the_middle("äöüß", 3), "ä…ß");
        assert_eq!(cut_in_the_middle("abc", 1), "…");
    }

    #[test]
    fn colours_take_no_columns() {
        assert!(drawn(None, Color::Always).contains("\u{1b}[31ma\u{1b}[0m         \\u{1b}"));
    }

    #[test]
    fn a_narrow_terminal_costs_what_matters_least_and_keeps_why() {
        let mut table = Table::new(&[
            ("TIME", Narrow::Keep),
            ("NAME", Narrow::Cut(8)),
            ("REVISION", Narrow::Drop(1)),
            ("EPOCH", Narrow::Drop(0)),
            ("WHY", Narrow::Below),
        ]);
        let why = "3 failures in a row, from 2 callers, as it was on Monday";
        let time = "2026-11-24 10:14:57.622Z";
        table.row(
            [Cell::time(time)].into_iter().chain(["notifications", "41", "7", why].map(Cell::from)).collect(),
        );
        let drawn = |columns| {
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let environment = Environment { columns, ..Environment::default() };
            table.write(&mut Screen::new(&mut out, &mut err, &environment, Color::Never, false)).unwrap();
            String::from_utf8(out).unwrap().lines().skip(1).map(str::to_owned).collect::<Vec<_>>()
        };
        let whole = format!("{time}  notifications  41        7      {why}");
        assert_eq!(drawn(None), [&*whole]);
        assert_eq!(drawn(Some(whole.width())), [&*whole], "it fits");
        let short = format!("11-24 10:14:57  notifications  41        7      {why}");
        assert_eq!(drawn(Some(short.width())), [&*short], "times are shortened first");
        let dropped = format!("11-24 10:14:57  notifications  {why}");
        assert_eq!(drawn(Some(dropped.width())), [&*dropped], "then columns are left out");
        let head = "11-24 10:14:57  notifications  41        7";
        assert_eq!(drawn(Some(80)), ["    WHY", head, &format!("    {why}")], "then it is written below");
        let below = drawn(Some(31));
        assert_eq!(below[1], "11-24 10:14:57  notifications");
        assert_eq!(below[2..].join(" ").split_whitespace().collect::<Vec<_>>().join(" "), why);
        assert_eq!(drawn(Some(27))[1], "11-24 10:14:57  notif…tions", "names are cut last, in the middle");
    }
}
