//! Many new rows by `COPY`, in its binary form.
//!
//! Half the server's time of `INSERT ... SELECT FROM unnest`, which takes an array apart for each column before a row is put
//! together. Rows are sent as they are encoded, so that the server works on the first while the last are made.

use super::write_transaction::Write;
use crate::store::StoreError;
use crate::store::cell::{Cell, Column};
use crate::store::sqlx_error::fault;

/// What a stream of rows begins with: its signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with: a row of -1 columns.
const TRAILER: &[u8] = &(-1_i16).to_be_bytes();

/// The length of a value that is NULL.
const NULL: &[u8] = &(-1_i32).to_be_bytes();

/// Bytes that are sent at one time: some hundred rows.
const CHUNK_BYTES: usize = 64 * 1024;

/// Where rows go.
pub(super) struct Into<const N: usize> {
    pub(super) table: &'static str,
    pub(super) columns: &'static [Column; N],
    /// What is being done, for when it fails.
    pub(super) act: &'static str,
}

/// Rows in the binary form of `COPY`.
pub(super) struct Rows<const N: usize> {
    bytes: Vec<u8>,
    act: &'static str,
}

impl<const N: usize> Rows<N> {
    /// Adds a row, in the order of the columns. Each value must be of its column's type: nothing converts it.
    pub(super) fn push(&mut self, cells: &[Cell<'_>; N]) -> Result<(), StoreError> {
        // Tables have some dozen columns.
        self.bytes.extend_from_slice(&i16::try_from(N).unwrap_or(i16::MAX).to_be_bytes());
        cells.iter().try_for_each(|cell| self.cell(cell))
    }

    fn cell(&mut self, cell: &Cell<'_>) -> Result<(), StoreError> {
        match cell {
            Cell::Null => {
                self.bytes.extend_from_slice(NULL);
                Ok(())
            }
            Cell::Bool(is_so) => self.value(&[u8::from(*is_so)]),
            Cell::Integer(number) => self.value(&number.to_be_bytes()),
            Cell::Real(number) => self.value(&number.to_be_bytes()),
            Cell::Time(stamp) => self.value(&stamp.postgres_micros().to_be_bytes()),
            Cell::Text(text) => self.value(text.as_bytes()),
            Cell::Owned(text) => self.value(text.as_bytes()),
        }
    }

    fn value(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let length = i32::try_from(bytes.len()).map_err(|_| StoreError::Corrupt {
            act: self.act,
            problem: format!("a text cannot have {} bytes", bytes.len()),
        })?;
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Copies a row for each item; none: does nothing.
pub(super) async fn copy<T, const N: usize>(
    tx: &mut Write,
    into: Into<N>,
    items: impl ExactSizeIterator<Item = T>,
    fill: impl Fn(T, &mut Rows<N>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let Into { table, columns, act } = into;
    if items.len() == 0 {
        return Ok(());
    }
    let columns = columns.map(Column::on_postgres).join(", ");
    let statement = format!("COPY {table} ({columns}) FROM STDIN (FORMAT binary)");
    let mut rows = Rows { bytes: HEADER.to_vec(), act };
    rows.bytes.reserve(CHUNK_BYTES);
    let mut copying = tx.copy_in_raw(&statement).await.map_err(fault(act))?;
    for item in items {
        fill(item, &mut rows)?;
        if rows.bytes.len() >= CHUNK_BYTES {
            copying.send(rows.bytes.as_slice()).await.map_err(fault(act))?;
            rows.bytes.clear();
        }
    }
    rows.bytes.extend_from_slice(TRAILER);
    copying.send(rows.bytes.as_slice()).await.map_err(fault(act))?;
    copying.finish().await.map_err(fault(act))?;
    Ok(())
}
