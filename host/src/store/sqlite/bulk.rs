//! Many rows to a statement: each trip to the database's thread and back costs more than a
//! row does. There is a statement for each number of rows up to `FEW` and one for `MANY`, so
//! that each is prepared once and then found in the connection's cache.

use std::sync::OnceLock;

use sqlx::{Arguments, SqliteConnection, encode::Encode, sqlite::SqliteArguments, types::Type};

use super::{Result, StoreError, failed};

/// Up to so many rows go in one statement of exactly that size.
const FEW: usize = 64;
/// So many rows go in one statement, as often as there are so many. Stays far below SQLite's
/// 32,766 variables.
const MANY: usize = 256;
/// Statements a connection keeps prepared: those of six bulk operations, and all others.
pub(super) const CACHED_STATEMENTS: usize = 6 * (FEW + 1) + 100;

/// `head`, then a list of rows, then `tail`.
pub(super) struct Bulk {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
    /// By number of rows; the last is for `MANY`.
    statements: [OnceLock<String>; FEW + 2],
}

impl Bulk {
    /// `row` is one row's placeholders, for example `(?, ?)`.
    pub(super) const fn new(head: &'static str, row: &'static str, tail: &'static str) -> Self {
        Self { head, row, tail, statements: [const { OnceLock::new() }; FEW + 2] }
    }

    fn statement(&'static self, rows: usize) -> &'static str {
        self.statements[rows.min(FEW + 1)].get_or_init(|| {
            format!("{} {} {}", self.head, vec![self.row; rows].join(", "), self.tail)
        })
    }

    /// Runs it over `rows`, with what `bind` makes of each.
    pub(super) async fn execute<T: Sync>(
        &'static self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Row<'_>, &T) + Send + Sync,
    ) -> Result<()> {
        let columns = self.row.matches('?').count();
        while !rows.is_empty() {
            let size = if rows.len() >= MANY { MANY } else { rows.len().min(FEW) };
            let (chunk, rest) = rows.split_at(size);
            let mut arguments = SqliteArguments::default();
            arguments.reserve(size * columns, 0);
            let mut row = Row { arguments: &mut arguments, error: None };
            for item in chunk {
                bind(&mut row, item);
            }
            if let Some(error) = row.error {
                return Err(StoreError::Failed(error));
            }
            sqlx::query_with(self.statement(size), arguments)
                .execute(&mut *connection)
                .await
                .map_err(failed)?;
            rows = rest;
        }
        Ok(())
    }
}

/// Takes a row's values in the order of its columns.
pub(super) struct Row<'a> {
    arguments: &'a mut SqliteArguments,
    error: Option<String>,
}

impl Row<'_> {
    /// The next column.
    pub(super) fn put<'q, T: Encode<'q, sqlx::Sqlite> + Type<sqlx::Sqlite>>(
        &mut self,
        value: T,
    ) -> &mut Self {
        if let Err(error) = self.arguments.add(value) {
            self.error.get_or_insert(error.to_string());
        }
        self
    }
}
