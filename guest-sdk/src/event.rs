//! The event, as a plugin sees it: a view of the server's own parsed copy.
//!
//! Owns reading typed values out of it and saying clearly when they are not there.
//! Never holds the payload: each read is a question to the server, which keeps the
//! answers a verdict depended on.

use crate::{Error, Result, explain, pointer};
use serde::de::DeserializeOwned;

#[cfg(target_arch = "wasm32")]
use crate::guest::transform::Event as Source;
#[cfg(not(target_arch = "wasm32"))]
use crate::testing::Source;

/// One event. Plugins receive it; tests build it with [`testing::event`].
///
/// Pointers are JSON pointers (RFC 6901): `/customer/email`, `/lines/0/price`.
///
/// [`testing::event`]: https://docs.rs/hookmill-sdk
#[derive(Debug)]
#[repr(transparent)]
pub struct Event {
    source: Source,
}

impl Event {
    /// The event's id, `evt_` and what follows. The same on every attempt.
    pub fn id(&self) -> String {
        self.source.id()
    }

    /// The event type's name, for example `order.created`.
    pub fn event_type(&self) -> String {
        self.source.event_type()
    }

    /// The version of the schema the event was accepted under, from 1; 0 without a schema.
    pub fn schema_version(&self) -> u32 {
        self.source.schema_version()
    }

    /// The name of the application the event belongs to.
    pub fn application(&self) -> String {
        self.source.application()
    }

    /// When it happened, RFC 3339 in UTC.
    pub fn occurred_at(&self) -> String {
        self.source.occurred_at()
    }

    /// What the event is about, if its producer said.
    pub fn subject(&self) -> Option<String> {
        self.source.subject()
    }

    /// The value at a pointer. It must be there, unless `T` is an `Option`.
    ///
    /// An error says what was found: `/total is the string "19.90", expected a number`.
    pub fn get<T: DeserializeOwned>(&self, pointer: &str) -> Result<T> {
        read(pointer, self.source.get(pointer).as_deref())
    }

    /// The value at a pointer, or `None` if nothing or `null` is there. A value of
    /// another type is an error.
    pub fn find<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>> {
        self.get(pointer)
    }

    /// Several values in one call: a tuple of up to six types, or an array of one.
    ///
    /// ```
    /// # use hookmill_sdk::{prelude::*, testing};
    /// # let event = testing::event(json!({"total": 9.5, "lines": [1], "note": null})).build();
    /// let (total, note): (f64, Option<String>) = event.get_many(["/total", "/note"])?;
    /// # assert_eq!((total, note), (9.5, None));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn get_many<F: Fields<N>, const N: usize>(&self, pointers: [&str; N]) -> Result<F> {
        let mut texts = self.source.get_many(&pointers);
        // The server answers every pointer; were it not so, the rest is absent.
        texts.resize(N, None);
        F::read(&pointers, &texts)
    }

    /// The JSON text at a pointer, exactly as the producer wrote it; `None` if nothing
    /// is there. The cheapest read: nothing is parsed.
    pub fn text(&self, pointer: &str) -> Result<Option<String>> {
        match self.source.get(pointer) {
            None => pointer::complaint(pointer).map_or(Ok(None), Err),
            text => Ok(text),
        }
    }

    /// The JSON texts at several pointers, in one call and in their order.
    pub fn texts(&self, pointers: &[&str]) -> Result<Vec<Option<String>>> {
        let texts = self.source.get_many(pointers);
        for (pointer, text) in pointers.iter().zip(&texts) {
            if text.is_none()
                && let Some(complaint) = pointer::complaint(pointer)
            {
                return Err(complaint);
            }
        }
        Ok(texts)
    }

    /// The whole payload as a type of your own.
    ///
    /// Like [`raw`](Event::raw) and [`value`](Event::value) it makes the answer depend on
    /// every byte of the event; a filter that only uses [`get`](Event::get) can be
    /// skipped for events that look the same to it.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        read("", Some(&self.source.raw()))
    }

    /// The whole payload as a JSON value.
    pub fn value(&self) -> Result<serde_json::Value> {
        self.json()
    }

    /// The whole payload as text.
    pub fn raw(&self) -> String {
        self.source.raw()
    }

    /// Wraps what the tests built.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn new(source: Source) -> Self {
        Event { source }
    }

    /// The server's event, lent for one call.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn lent(source: &Source) -> &Self {
        // SAFETY: `Event` is `repr(transparent)` over `Source`, so a reference to one is
        // a reference to the other, and the lifetime is unchanged.
        #[allow(unsafe_code, reason = "a view of a borrowed handle can't own it")]
        unsafe {
            &*std::ptr::from_ref(source).cast::<Event>()
        }
    }
}

/// Reads one value. What is absent reads as `null`, so that `Option` takes it.
fn read<T: DeserializeOwned>(pointer: &str, text: Option<&str>) -> Result<T> {
    match serde_json::from_str(text.unwrap_or("null")) {
        Ok(value) if text.is_some() || pointer::is_valid(pointer) => Ok(value),
        Ok(_) => Err(unreadable(pointer, text, None)),
        Err(error) => Err(unreadable(pointer, text, Some(&error))),
    }
}

#[cold]
fn unreadable(pointer: &str, text: Option<&str>, error: Option<&serde_json::Error>) -> Error {
    if text.is_none()
        && let Some(complaint) = pointer::complaint(pointer)
    {
        return complaint;
    }
    match error {
        Some(error) => Error::invalid_event(explain::sentence(pointer, text, error)),
        None => Error::invalid_event(format!("there is nothing at {pointer}")),
    }
}

/// What [`Event::get_many`] can return for `N` pointers: tuples and arrays.
pub trait Fields<const N: usize>: Sized {
    /// Reads the values, in the pointers' order.
    fn read(pointers: &[&str; N], texts: &[Option<String>]) -> Result<Self>;
}

impl<T: DeserializeOwned, const N: usize> Fields<N> for [T; N] {
    fn read(pointers: &[&str; N], texts: &[Option<String>]) -> Result<Self> {
        let mut values = Vec::with_capacity(N);
        for (pointer, text) in pointers.iter().zip(texts) {
            values.push(read(pointer, text.as_deref())?);
        }
        values.try_into().map_err(|_| Error::failed("the server answered too few pointers"))
    }
}

macro_rules! tuple {
    ($count:literal: $($type:ident $index:literal),+) => {
        impl<$($type: DeserializeOwned),+> Fields<$count> for ($($type,)+) {
            fn read(pointers: &[&str; $count], texts: &[Option<String>]) -> Result<Self> {
                Ok(($(read(pointers[$index], texts.get($index).and_then(|text| text.as_deref()))?,)+))
            }
        }
    };
}

tuple!(1: A 0);
tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);
tuple!(5: A 0, B 1, C 2, D 3, E 4);
tuple!(6: A 0, B 1, C 2, D 3, E 4, F 5);

#[cfg(test)]
mod tests {
    use crate::testing;
    use crate::{Event, Result};
    use serde_json::json;

    fn order() -> Event {
        testing::event(json!({
            "total": "19.90", "count": 3, "paid": true, "note": null,
            "customer": {"email": "a@b.example", "tags": ["x", 5]},
        }))
        .build()
    }

    fn problem<T>(result: Result<T>) -> String {
        result.err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn reads_typed_values() -> Result<()> {
        let event = order();
        assert_eq!(event.get::<u8>("/count")?, 3);
        assert_eq!(event.get::<String>("/customer/email")?, "a@b.example");
        assert_eq!(event.get::<String>("/customer/tags/0")?, "x");
        assert_eq!(event.find::<String>("/nowhere")?, None);
        assert_eq!(event.find::<String>("/note")?, None);
        assert_eq!(event.get::<Option<bool>>("/paid")?, Some(true));
        let (count, missing): (f64, Option<u8>) = event.get_many(["/count", "/nowhere"])?;
        assert_eq!((count, missing), (3.0, None));
        let [paid] = event.get_many::<[bool; 1], 1>(["/paid"])?;
        assert!(paid);
        assert_eq!(event.value()?["count"], 3);
        Ok(())
    }

    #[test]
    fn a_mistake_names_pointer_found_and_expected() {
        let event = order();
        for (problem, message) in [
            (
                problem(event.get::<f64>("/total")),
                r#"/total is the string "19.90", expected a number"#,
            ),
            (
                problem(event.find::<bool>("/count")),
                "/count is the number 3, expected true or false",
            ),
            (
                problem(event.get::<String>("/customer")),
                "/customer is an object, expected a string",
            ),
            (problem(event.get::<String>("/paid")), "/paid is true, expected a string"),
            (
                problem(event.get::<f64>("/nowhere")),
                "there is nothing at /nowhere, expected a number",
            ),
            (
                problem(event.get::<Vec<String>>("/customer/tags")),
                "/customer/tags/1 is the number 5, expected a string",
            ),
            (
                problem(event.get_many::<(u8, u8), 2>(["/count", "/customer"])),
                "/customer is an object, expected a whole number from 0 to 255",
            ),
        ] {
            assert_eq!(problem, format!("invalid-event: {message}"));
        }
    }

    #[test]
    fn a_malformed_pointer_is_said_to_be_one() {
        let event = order();
        for problem in [
            problem(event.get::<f64>("total")),
            problem(event.find::<f64>("total")),
            problem(event.text("total")),
            problem(event.texts(&["/total", "total"])),
        ] {
            assert_eq!(
                problem,
                "failed: `total` is not a JSON pointer: it must begin with `/`; is `/total` meant?"
            );
        }
    }

    #[test]
    fn the_whole_payload_as_a_type_names_the_place_inside() {
        #[derive(Debug, serde::Deserialize)]
        struct Order {
            #[allow(dead_code, reason = "only the error matters")]
            customer: Customer,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Customer {
            #[allow(dead_code, reason = "only the error matters")]
            phone: String,
        }
        assert_eq!(problem(order().json::<Order>()), "invalid-event: /customer/phone is missing");
    }
}
