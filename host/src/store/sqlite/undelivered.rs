//! Events that have not been delivered to all they matched, and patterns of event types as
//! conditions.

use sqlx::{QueryBuilder, Sqlite};

use super::{
    Result, SqliteStore,
    codec::{LISTED_COLUMNS, listed},
    failed,
    history::{page, push_times},
};
use crate::{
    model::{ApplicationId, EventId, EventTypeName, ListedEvent, Pattern},
    store::{EventFilter, Page},
};

/// Adds that `e.type` is one that any of the patterns matches.
///
/// `GLOB`'s star matches dots, too. With as many dots in the name as in the text it cannot
/// have matched any, so `**` is written out for each number of segments it may stand for.
///
/// The server's own types are only stood for by patterns that begin with their first segment.
pub(super) fn push_types(query: &mut QueryBuilder<Sqlite>, patterns: &[Pattern]) {
    let globs = patterns.iter().flat_map(globs);
    for (index, glob) in globs.enumerate() {
        query.push(if index == 0 { " AND (" } else { " OR " });
        if !glob.contains('*') {
            query.push("e.type = ").push_bind(glob);
            continue;
        }
        let (dots, is_open) = (glob.matches('.').count() as i64, glob.starts_with('*'));
        query
            .push("(e.type GLOB ")
            .push_bind(glob)
            .push(" AND length(e.type) - length(replace(e.type, '.', '')) = ")
            .push_bind(dots);
        if is_open {
            query.push(" AND e.type NOT GLOB 'hookmill' AND e.type NOT GLOB 'hookmill.*'");
        }
        query.push(")");
    }
    if !patterns.is_empty() {
        query.push(")");
    }
}

fn globs(pattern: &Pattern) -> Vec<String> {
    let text = pattern.as_str();
    let Some(head) = text.strip_suffix("**") else { return vec![text.to_owned()] };
    let before = head.matches('.').count();
    (1..=EventTypeName::MAX_SEGMENTS.saturating_sub(before))
        .map(|segments| format!("{head}{}", vec!["*"; segments].join(".")))
        .collect()
}

pub(super) async fn list(
    store: &SqliteStore,
    application: ApplicationId,
    filter: &EventFilter,
    before: Option<EventId>,
    limit: u32,
) -> Result<Page<ListedEvent>> {
    // The condition on the state is the index's, word for word, so that it is used.
    let mut query = QueryBuilder::new(format!(
        "SELECT {LISTED_COLUMNS} FROM deliveries AS d INDEXED BY deliveries_undelivered \
         CROSS JOIN events AS e ON e.row = d.event_row \
         WHERE d.state IN (0, 1, 3, 5) AND d.application_id = "
    ));
    let id = application.as_bytes().to_vec();
    query.push_bind(id.clone());
    if let Some(before) = before {
        // Where that one stands, or stood: retention may have taken it meanwhile.
        query
            .push(" AND d.event_row <= (SELECT row - (id = ")
            .push_bind(before.as_bytes().to_vec())
            .push(") FROM events WHERE application_id = ")
            .push_bind(id)
            .push(" AND id <= ")
            .push_bind(before.as_bytes().to_vec())
            .push(" ORDER BY id DESC LIMIT 1)");
    }
    if let Some(pattern) = &filter.event_type {
        push_types(&mut query, std::slice::from_ref(pattern));
    }
    if filter.violating {
        query.push(" AND e.violations IS NOT NULL");
    }
    push_times(&mut query, "e.accepted_at", filter.since, filter.until);
    query.push(" GROUP BY d.event_row ORDER BY d.event_row DESC LIMIT ");
    query.push_bind(i64::from(limit) + 1);
    let rows = query.build().fetch_all(&store.readers).await.map_err(failed)?;
    Ok(page(rows.iter().map(listed).collect::<Result<_>>()?, limit))
}

#[cfg(test)]
mod tests {
    use sqlx::{Connection, SqliteConnection};

    use super::*;

    #[tokio::test]
    async fn conditions_agree_with_patterns() {
        let names =
            ["a", "b", "a.b", "a.b.c", "x.b", "x.y.b", "x.b.c", "a.b-c", "a.x.c", "a.x.y.c"];
        let names = names.into_iter().chain(["hookmill.b", "hookmills.b"]);
        let patterns = [
            "hookmill.*",
            "a",
            "a.b",
            "*",
            "**",
            "a.*",
            "a.**",
            "*.b",
            "*.b.**",
            "a.*.c",
            "*.*",
            "*.*.**",
        ];
        let mut connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        for name in names {
            let event_type: EventTypeName = name.parse().unwrap();
            for pattern in patterns {
                let pattern: Pattern = pattern.parse().unwrap();
                let mut query = QueryBuilder::new("SELECT count(*) FROM (SELECT ");
                query.push_bind(name).push(" AS type) AS e WHERE 1");
                push_types(&mut query, std::slice::from_ref(&pattern));
                let found: i64 =
                    query.build_query_scalar().fetch_one(&mut connection).await.unwrap();
                assert_eq!(found == 1, pattern.matches(&event_type), "{pattern} of {name}");
            }
        }
    }
}
