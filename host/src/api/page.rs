//! Pages of lists: `?limit=…&cursor=…` in, `{"data": […], "next_cursor": …}` out.
//!
//! Owns the cursor's form: the place of the page's last item in its list. So every
//! well-formed cursor means something, whatever was deleted meanwhile.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::problem::{Code, FieldError, Problem};

const DEFAULT_LIMIT: u32 = 50;
const MOST: u32 = 200;

/// Which page of a list, for lists that take nothing else.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Most items in the answer: 1 to 200, 50 if not given.
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct PageOut<T> {
    /// The items.
    pub data: Vec<T>,
    /// What to give as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A checked `limit` and `cursor` of the list `kind`. `P` is a position in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Paging<P> {
    kind: &'static str,
    /// Most items in the answer.
    pub limit: u32,
    /// The last item of the page before.
    pub after: Option<P>,
}

impl<P: FromStr + ToString> Paging<P> {
    /// Checks what the request asks for. `kind` is what tells this list's cursors from
    /// others'.
    pub fn new(
        kind: &'static str,
        limit: Option<u32>,
        cursor: Option<&str>,
    ) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::new(Code::InvalidQuery, "The limit is out of bounds").errors([
                FieldError::new("?limit", format!("is {limit}; 1 to {MOST} are allowed")),
            ]));
        }
        let after = match cursor {
            None => None,
            Some(cursor) => Some(decode(kind, cursor).ok_or_else(|| {
                Problem::new(Code::InvalidCursor, "The cursor is not one of this list's")
                    .detail("Start again without it, and give each page's `next_cursor` as it is.")
            })?),
        };
        Ok(Self { kind, limit, after })
    }

    /// A page of what the store listed.
    pub fn page<T>(&self, data: Vec<T>, more: bool, position: impl Fn(&T) -> P) -> PageOut<T> {
        let last = if more { data.last() } else { None };
        let next_cursor = last.map(|item| encode(self.kind, position(item).to_string()));
        PageOut { data, next_cursor }
    }

    /// A page of a whole list that is in order; `follows` says whether a position comes
    /// after the cursor's. What was deleted meanwhile does no harm.
    pub fn slice<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        position: impl Fn(&T) -> P,
        follows: impl Fn(&P, &P) -> bool,
    ) -> PageOut<T> {
        let mut rest = items
            .into_iter()
            .filter(|item| self.after.as_ref().is_none_or(|after| follows(&position(item), after)));
        let data: Vec<T> = rest.by_ref().take(self.limit as usize).collect();
        let more = rest.next().is_some();
        self.page(data, more, position)
    }
}

/// An id says itself what it names; any other position is put behind the list's name.
fn encode(kind: &str, position: String) -> String {
    if is_id(kind, &position) { position } else { format!("{kind}:{position}") }
}

fn decode<P: FromStr>(kind: &str, cursor: &str) -> Option<P> {
    if is_id(kind, cursor) {
        return cursor.parse().ok();
    }
    cursor.strip_prefix(kind)?.strip_prefix(':')?.parse().ok()
}

fn is_id(kind: &str, text: &str) -> bool {
    text.strip_prefix(kind).is_some_and(|rest| rest.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EventId, Timestamp};

    fn numbers(limit: u32, cursor: Option<&str>) -> PageOut<u32> {
        Paging::new("n", Some(limit), cursor).unwrap().slice(
            (0..10u32).rev(),
            |n| *n,
            |position, after| position < after,
        )
    }

    #[test]
    fn pages_cover_a_list_once() {
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = numbers(3, cursor.as_deref());
            seen.extend(page.data);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..10).rev().collect::<Vec<_>>());
    }

    #[test]
    fn a_page_that_just_fits_is_the_last() {
        assert_eq!(numbers(10, None).next_cursor, None);
        assert!(numbers(9, None).next_cursor.is_some());
    }

    #[test]
    fn cursors_round_trip_for_their_own_list_only() {
        let id = EventId::new(Timestamp::UNIX_EPOCH);
        let cursor = encode("evt", id.to_string());
        assert_eq!(cursor, id.to_string());
        let paging = Paging::<EventId>::new("evt", None, Some(&cursor)).unwrap();
        assert_eq!((paging.after, paging.limit), (Some(id), 50));
        for (kind, bad) in [("dlv", cursor.as_str()), ("evt", "!"), ("evt", ""), ("evt", "eHg")] {
            let problem = Paging::<EventId>::new(kind, None, Some(bad)).unwrap_err();
            assert_eq!(problem.code(), Code::InvalidCursor);
        }
    }

    #[test]
    fn positions_that_are_no_ids_say_whose_they_are() {
        let cursor = encode("schema", "7".to_owned());
        assert_eq!(cursor, "schema:7");
        assert_eq!(decode::<u32>("schema", &cursor), Some(7));
        assert_eq!(decode::<u32>("version", &cursor), None);
    }

    #[test]
    fn limits_are_bounded() {
        for bad in [0, 201, u32::MAX] {
            assert!(Paging::<u32>::new("n", Some(bad), None).is_err());
        }
        assert_eq!(Paging::<u32>::new("n", None, None).unwrap().limit, 50);
    }
}
