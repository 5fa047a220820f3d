//! Many rows to a statement, from few distinct statements: each batch is cut into chunks of
//! fixed sizes, so every statement is prepared once and found in the connection's cache.

use sqlx::{Arguments, SqliteConnection, encode::Encode, sqlite::SqliteArguments, types::Type};

use super::{Result, StoreError, failed};

/// Rows to a statement, largest first. The largest stays far below SQLite's 32,766 variables.
const SIZES: [usize; 4] = [256, 32, 4, 1];

/// `head`, then a list of rows, then `tail`.
pub(super) struct Bulk {
    statements: [String; SIZES.len()],
    columns: usize,
}

impl Bulk {
    /// `row` is one row's placeholders, for example `(?, ?)`.
    pub(super) fn new(head: &str, row: &str, tail: &str) -> Self {
        let columns = row.matches('?').count();
        let statements = SIZES.map(|size| format!("{head} {} {tail}", vec![row; size].join(", ")));
        Self { statements, columns }
    }

    /// Runs it over `rows`, with what `bind` makes of each.
    pub(super) async fn execute<T: Sync>(
        &'static self,
        connection: &mut SqliteConnection,
        mut rows: &[T],
        bind: impl Fn(&mut Row<'_>, &T) + Send + Sync,
    ) -> Result<()> {
        while !rows.is_empty() {
            let (size, statement) = SIZES
                .into_iter()
                .zip(&self.statements)
                .find(|(size, _)| *size <= rows.len())
                .unwrap_or((1, &self.statements[SIZES.len() - 1]));
            let (chunk, rest) = rows.split_at(size);
            let mut arguments = SqliteArguments::default();
            arguments.reserve(size * self.columns, 0);
            let mut row = Row { arguments: &mut arguments, error: None };
            for item in chunk {
                bind(&mut row, item);
            }
            if let Some(error) = row.error {
                return Err(StoreError::Failed(error));
            }
            sqlx::query_with(statement.as_str(), arguments)
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
