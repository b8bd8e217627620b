//! The same rules, read off the text itself: no tree of values is made. What needs a second look (a member twice, anything
//! wrong) is refused here, and read as a tree by the caller.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Error;
use serde_json::value::RawValue;

/// Deeper documents are refused.
const DEPTH: usize = 128;

/// Decodes one document, or says that it is to be read the other way.
pub(super) fn from_slice<'de, T: serde::Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, Error> {
    if depth(bytes) > DEPTH {
        return Err(other_way());
    }
    let document: &RawValue = serde_json::from_slice(bytes)?;
    T::deserialize(Raw(document.get()))
}

fn other_way() -> Error {
    Error::custom("to be read as a tree")
}

/// How deep arrays and objects lie in each other.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// One value's text, without space around it.
#[derive(Clone, Copy)]
struct Raw<'de>(&'de str);

impl<'de> Raw<'de> {
    fn is_null(self) -> bool {
        self.0 == "null"
    }

    fn begins(self, with: char) -> bool {
        self.0.starts_with(with)
    }

    fn json(self) -> serde_json::Deserializer<serde_json::de::StrRead<'de>> {
        serde_json::Deserializer::from_str(self.0)
    }

    fn items(self) -> Result<Vec<&'de str>, Error> {
        let items: Vec<&RawValue> = serde_json::from_str(self.0)?;
        Ok(items.into_iter().map(RawValue::get).collect())
    }

    fn members(self) -> Result<Vec<(Cow<'de, str>, &'de str)>, Error> {
        self.json().deserialize_map(Pairs)
    }
}

/// Collects an object's members.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((Key(key), value)) = members.next_entry::<Key<'de>, &RawValue>()? {
            pairs.push((key, value.get()));
        }
        Ok(pairs)
    }
}

/// A key, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Scalars: null is zero.
macro_rules! zero {
    ($($method:ident => $visit:ident($zero:expr)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            if self.is_null() { visitor.$visit($zero) } else { self.json().$method(visitor) }
        }
    )*};
}

impl<'de> Deserializer<'de> for Raw<'de> {
    type Error = Error;

    scalars!(zero);

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.begins('[') {
            visitor.visit_seq(Items(self.items()?.into_iter()))
        } else if self.begins('{') {
            visitor.visit_map(Members::new(self.members()?))
        } else {
            self.json().deserialize_any(visitor)
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            visitor.visit_seq(Items(Vec::new().into_iter()))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        let mut items = if self.is_null() { Vec::new() } else { self.items()? };
        items.resize(length, "null");
        visitor.visit_seq(Items(items.into_iter()))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            visitor.visit_map(Members::new(Vec::new()))
        } else {
            self.deserialize_any(visitor)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.is_null() {
            return visitor.visit_map(Members::new(Vec::new()));
        }
        let mut members = self.members()?;
        // A null counts as absent. A name in another spelling may be one of two for the same member.
        members.retain(|(_, value)| *value != "null");
        let known = |key: &str| fields.contains(&key);
        if members.iter().any(|(key, _)| !known(key) && fields.iter().any(|f| f.eq_ignore_ascii_case(key))) {
            return Err(other_way());
        }
        members.retain(|(key, _)| known(key));
        visitor.visit_map(Members::new(members))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.json().deserialize_enum(name, variants, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple_struct identifier
    }
}

/// An array's items.
struct Items<'de>(std::vec::IntoIter<&'de str>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(Raw(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// An object's members.
struct Members<'de> {
    rest: std::vec::IntoIter<(Cow<'de, str>, &'de str)>,
    value: &'de str,
}

impl<'de> Members<'de> {
    fn new(members: Vec<(Cow<'de, str>, &'de str)>) -> Self {
        Self { rest: members.into_iter(), value: "null" }
    }
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = value;
        seed.deserialize(CowStrDeserializer::new(key)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(Raw(self.value))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::depth;

    #[test]
    fn depth_is_that_of_brackets_outside_of_strings() {
        for (text, expected) in
            [("1", 0), ("[]", 1), (r#"{"a":[{}]}"#, 3), (r#"["[[\"[["]"#, 1), ("[[],[]]", 2)]
        {
            assert_eq!(depth(text.as_bytes()), expected, "{text}");
        }
    }
}
