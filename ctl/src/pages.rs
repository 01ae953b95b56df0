//! Lists that are fetched page by page, up to a limit.

use prost::Message;

use super::error::{Completion, Failure};
use super::screen::Screen;
use super::table::{Cell, Column, Table};

/// The most that the API gives at once.
pub(super) const PAGE: i32 = 1_000;

/// How things of one kind are listed.
pub(super) struct List<T> {
    /// The message's name in the package `breakerd.v1`.
    pub(super) message: &'static str,
    /// The table's columns.
    pub(super) columns: &'static [Column],
    /// The cells of an item.
    pub(super) row: fn(&T) -> Vec<Cell>,
    /// The note that is printed when there are none.
    pub(super) nothing: &'static str,
}

/// The first `limit` of a list, and whether there are more. `fetch_page` is as that of [`List::show`].
pub(super) async fn fetch<T>(
    limit: u32,
    mut fetch_page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
) -> Result<(Vec<T>, bool), Failure> {
    let max = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut token) = (Vec::new(), String::new());
    while found.len() < max {
        let size = i32::try_from(max - found.len()).map_or(PAGE, |left| left.min(PAGE));
        let (page, next) = fetch_page(size, token).await?;
        found.extend(page);
        token = next;
        if token.is_empty() {
            break;
        }
    }
    Ok((found, !token.is_empty()))
}

/// Says that a list was cut at its limit.
pub(super) fn note_more(screen: &mut Screen<'_>) {
    screen.note("more results exist: increase --limit");
}

impl<T: Message> List<T> {
    /// Lists the first `limit`. `fetch_page` is given a page's size and token, and answers with what is on it and the token
    /// of the next.
    pub(super) async fn show(
        &self,
        limit: u32,
        screen: &mut Screen<'_>,
        mut fetch_page: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<Completion, Failure> {
        let mut table = Table::new(self.columns);
        let mut left = limit;
        let mut token = String::new();
        while left > 0 {
            let size = i32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
            let (page, next) = fetch_page(size, token).await?;
            for one in &page {
                left = left.saturating_sub(1);
                if !screen.line(self.message, one)? {
                    table.row((self.row)(one));
                }
            }
            token = next;
            if token.is_empty() {
                break;
            }
        }
        if !screen.is_json() {
            if table.is_empty() {
                screen.note(self.nothing);
            } else {
                table.write(screen)?;
            }
        }
        if !token.is_empty() {
            note_more(screen);
        }
        Ok(Completion::Done)
    }
}
