//! Reading many rows of a table, page by page: no more than a page is in memory.

use crate::server::Server;
use crate::tables::{Damaged, Row, Table};

/// Rows read at a time at the start.
const START_ROWS: usize = 4_096;

impl Server {
    /// All rows with `from <= key < until`: of tables that are small.
    pub(crate) fn all_rows(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
    ) -> Result<Vec<Row>, Damaged> {
        let mut rows = Vec::new();
        self.each_row(table, from, until, |key, value| {
            rows.push((key, value));
            Ok(())
        })?;
        Ok(rows)
    }

    /// Shows all rows with `from <= key < until`, in order, of which no more than a page is in memory.
    pub(crate) fn each_row(
        &self,
        table: Table,
        from: &[u8],
        until: &[u8],
        mut each: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), Damaged>,
    ) -> Result<(), Damaged> {
        let mut from = from.to_vec();
        loop {
            let page = self.ledger.scan(table, &from, until, START_ROWS)?;
            let full = page.len() == START_ROWS;
            if let Some((last, _)) = page.last() {
                from = last.clone();
                from.push(0);
            }
            for (key, value) in page {
                each(key, value)?;
            }
            if !full {
                return Ok(());
            }
        }
    }
}
