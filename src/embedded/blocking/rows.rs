//! Walks over keys, for threads that wait.

use crate::client::Row;
use crate::embedded;
use crate::model::Result;
use std::sync::Arc;
use tokio::runtime::Runtime;

/// Keys in order, one after the other.
#[derive(Debug)]
pub struct Rows {
    rows: embedded::Rows,
    page: std::vec::IntoIter<Row>,
    is_over: bool,
    runtime: Arc<Runtime>,
}

impl Rows {
    pub(super) fn new(rows: embedded::Rows, runtime: Arc<Runtime>) -> Self {
        Self {
            rows,
            page: Vec::new().into_iter(),
            is_over: false,
            runtime,
        }
    }
}

impl Iterator for Rows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.page.next() {
                return Some(Ok(row));
            }
            if self.is_over {
                return None;
            }
            match self.runtime.block_on(self.rows.next_page()) {
                Ok(Some(page)) => self.page = page.into_iter(),
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    return Some(Err(error));
                }
            }
        }
    }
}
