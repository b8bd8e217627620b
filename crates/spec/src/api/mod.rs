//! The Engine API's JSON objects, version 1.55, one file per noun.
//!
//! The field names are the API's own (`snake_case` here, Go's spelling on the wire), so the API's reference
//! is their documentation. What Go reads is read: a missing key and `null` mean the zero value
//! (decode bodies with [`crate::gojson::from_slice`], which knows Go's rules).

#![allow(missing_docs, reason = "the fields are the Engine API's, documented by its reference")]

use std::collections::BTreeMap;

use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

mod build;
mod container;
mod content;
mod exec;
mod image;
mod network;
mod stats;
mod stream;
mod system;
mod volume;

pub use build::*;
pub use container::*;
pub use content::*;
pub use exec::*;
pub use image::*;
pub use network::*;
pub use stats::*;
pub use stream::*;
pub use system::*;
pub use volume::*;

pub use crate::oci::image::{Descriptor, Platform};

/// The newest Engine API version spoken.
pub const API_VERSION: &str = "1.55";
/// The oldest Engine API version accepted.
pub const MIN_API_VERSION: &str = "1.24";

/// `{}`: the value of Go's `map[string]struct{}`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// Container port (`80/tcp`) to the host addresses it is published on.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

/// Go's zero `time.Time`, as it is written in JSON.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// Go's `strslice`: one string stands for a list of one.
fn words<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<String>, D::Error> {
    struct Words;
    impl<'de> Visitor<'de> for Words {
        type Value = Vec<String>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or an array of strings")
        }

        fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<Self::Value, E> {
            Ok(vec![word.to_owned()])
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut words: A) -> Result<Self::Value, A::Error> {
            std::iter::from_fn(|| words.next_element().transpose()).collect()
        }
    }
    d.deserialize_any(Words)
}

/// Go writes a nil slice as `null`.
fn null_if_empty<T: Serialize, S: Serializer>(v: &[T], s: S) -> Result<S::Ok, S::Error> {
    if v.is_empty() { s.serialize_none() } else { v.serialize(s) }
}

/// Go writes a nil map as `null`.
fn null_if_empty_map<V: Serialize, S: Serializer>(v: &BTreeMap<String, V>, s: S) -> Result<S::Ok, S::Error> {
    if v.is_empty() { s.serialize_none() } else { v.serialize(s) }
}

fn is_zero(n: &i64) -> bool {
    *n == 0
}

fn is_zero_u16(n: &u16) -> bool {
    *n == 0
}

fn is_false(b: &bool) -> bool {
    !*b
}
