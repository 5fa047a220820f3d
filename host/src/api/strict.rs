//! JSON as its schema reads it: an object is an object, and 3.0 is an integer.
//!
//! serde takes an array for a struct, its fields in order, and refuses an integer that is
//! written with a fraction of zero. JSON Schema does neither. Owns that difference; never
//! changes a value that goes into no typed field.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

/// Integers up to here are the same number as a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// What a visitor waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Object,
    Integer,
    Anything,
}

/// A deserializer, a seed, a visitor or an access, strict all the way down.
#[derive(Debug)]
pub struct Strict<T>(pub T);

struct Strictly<V> {
    inner: V,
    wanted: Wanted,
}

macro_rules! forward {
    ($($method:ident: $wanted:ident;)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, inner: V) -> Result<V::Value, D::Error> {
                self.0.$method(Strictly { inner, wanted: Wanted::$wanted })
            }
        )*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<D> {
    type Error = D::Error;

    forward! {
        deserialize_any: Anything;
        deserialize_bool: Anything;
        deserialize_i8: Integer;
        deserialize_i16: Integer;
        deserialize_i32: Integer;
        deserialize_i64: Integer;
        deserialize_u8: Integer;
        deserialize_u16: Integer;
        deserialize_u32: Integer;
        deserialize_u64: Integer;
        deserialize_f32: Anything;
        deserialize_f64: Anything;
        deserialize_char: Anything;
        deserialize_str: Anything;
        deserialize_string: Anything;
        deserialize_bytes: Anything;
        deserialize_byte_buf: Anything;
        deserialize_option: Anything;
        deserialize_unit: Anything;
        deserialize_seq: Anything;
        deserialize_map: Anything;
        deserialize_identifier: Anything;
        deserialize_ignored_any: Anything;
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_struct(name, fields, Strictly { inner, wanted: Wanted::Object })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_enum(name, variants, Strictly { inner, wanted: Wanted::Anything })
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_unit_struct(name, Strictly { inner, wanted: Wanted::Anything })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_newtype_struct(name, Strictly { inner, wanted: Wanted::Anything })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple(length, Strictly { inner, wanted: Wanted::Anything })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_tuple_struct(name, length, Strictly { inner, wanted: Wanted::Anything })
    }
}

macro_rules! pass {
    ($($method:ident($kind:ty);)*) => {
        $(
            fn $method<E: Error>(self, value: $kind) -> Result<V::Value, E> {
                self.inner.$method(value)
            }
        )*
    };
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Strictly<V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    pass! {
        visit_bool(bool);
        visit_i64(i64);
        visit_i128(i128);
        visit_u64(u64);
        visit_u128(u128);
        visit_char(char);
        visit_str(&str);
        visit_borrowed_str(&'de str);
        visit_string(String);
        visit_bytes(&[u8]);
        visit_borrowed_bytes(&'de [u8]);
        visit_byte_buf(Vec<u8>);
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<V::Value, E> {
        let whole = self.wanted == Wanted::Integer && value.fract() == 0.0;
        if whole && value.abs() <= EXACT {
            self.inner.visit_i64(value as i64)
        } else {
            self.inner.visit_f64(value)
        }
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.inner.visit_some(Strict(source))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<V::Value, D::Error> {
        self.inner.visit_newtype_struct(Strict(source))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        if self.wanted == Wanted::Object {
            return Err(A::Error::invalid_type(Unexpected::Seq, &"an object"));
        }
        self.inner.visit_seq(Strict(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        self.inner.visit_map(Strict(entries))
    }

    fn visit_enum<A: EnumAccess<'de>>(self, choice: A) -> Result<V::Value, A::Error> {
        self.inner.visit_enum(Strict(choice))
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Strict<S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<S::Value, D::Error> {
        self.0.deserialize(Strict(source))
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        self.0.next_element_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, A::Error> {
        // A key is text, whatever its type.
        self.0.next_key_seed(seed)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(Strict(seed))
    }

    fn size_hint(&self) -> Option<usize> {
        self.0.size_hint()
    }
}

impl<'de, A: EnumAccess<'de>> EnumAccess<'de> for Strict<A> {
    type Error = A::Error;
    type Variant = Strict<A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(
        self,
        seed: S,
    ) -> Result<(S::Value, Self::Variant), A::Error> {
        self.0.variant_seed(seed).map(|(name, content)| (name, Strict(content)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Strict<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.0.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        self.0.newtype_variant_seed(Strict(seed))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, inner: V) -> Result<V::Value, A::Error> {
        self.0.tuple_variant(length, Strictly { inner, wanted: Wanted::Anything })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        inner: V,
    ) -> Result<V::Value, A::Error> {
        self.0.struct_variant(fields, Strictly { inner, wanted: Wanted::Object })
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Outer {
        count: Option<u32>,
        #[serde(default)]
        inner: Vec<Inner>,
        #[serde(default)]
        free: Value,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        offset: i64,
    }

    fn read(text: &str) -> Result<Outer, String> {
        let mut source = serde_json::Deserializer::from_str(text);
        Outer::deserialize(Strict(&mut source)).map_err(|error| error.to_string())
    }

    #[test]
    fn an_array_is_no_object_at_any_depth() {
        for text in ["[1]", "[null, []]", r#"{"inner":[[3]]}"#] {
            assert!(read(text).unwrap_err().contains("expected an object"), "{text}");
        }
    }

    #[test]
    fn a_whole_number_is_an_integer_however_it_is_written() {
        let read = read(r#"{"count":310.0,"inner":[{"offset":-2e3}],"free":[1.0]}"#).unwrap();
        assert_eq!((read.count, &read.inner[..]), (Some(310), &[Inner { offset: -2000 }][..]));
        assert_eq!(read.free, json!([1.0]), "what has no type stays as it is");
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        for text in [r#"{"count":1.5}"#, r#"{"count":-1.0}"#, r#"{"count":1e300}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
