//! Lists that come page by page, up to as many as somebody wants to see.

use prost::Message;

use super::error::{Ended, Failure};
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
    /// What stands below it of each.
    pub(super) row: fn(&T) -> Vec<Cell>,
    /// What is said when there are none.
    pub(super) nothing: &'static str,
}

impl<T: Message> List<T> {
    /// Lists the first `limit`. `ask` is given a page's size and token, and answers with what is on it and the token
    /// of the next.
    pub(super) async fn show(
        &self,
        limit: u32,
        screen: &mut Screen<'_>,
        mut ask: impl AsyncFnMut(i32, String) -> Result<(Vec<T>, String), Failure>,
    ) -> Result<Ended, Failure> {
        let mut table = Table::new(self.columns);
        let mut left = limit;
        let mut token = String::new();
        while left > 0 {
            let size = i32::try_from(left).map_or(PAGE, |left| left.min(PAGE));
            let (page, next) = ask(size, token).await?;
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
            screen.note("more results exist: increase --limit");
        }
        Ok(Ended::Done)
    }
}
