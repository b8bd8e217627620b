//! Reading JSON as Go's `encoding/json` does, because that is what clients were written against:
//!
//! - the keys of a struct match in any case, the exact one first; keys of maps (labels, ports) are the user's and stay;
//! - `null` is the zero value, wherever it stands;
//! - of two equal keys the last counts; keys that nobody asked for are skipped;
//! - a number with a fraction or an exponent is no integer; data after the document is an error.
//!
//! A document is at most 128 levels deep.

/// Gives a macro of either reader the methods for scalars, with what null is to each.
macro_rules! scalars {
    ($zero:ident) => {
        $zero! {
            deserialize_bool => visit_bool(false),
            deserialize_i8 => visit_i64(0),
            deserialize_i16 => visit_i64(0),
            deserialize_i32 => visit_i64(0),
            deserialize_i64 => visit_i64(0),
            deserialize_i128 => visit_i64(0),
            deserialize_u8 => visit_u64(0),
            deserialize_u16 => visit_u64(0),
            deserialize_u32 => visit_u64(0),
            deserialize_u64 => visit_u64(0),
            deserialize_u128 => visit_u64(0),
            deserialize_f32 => visit_f64(0.0),
            deserialize_f64 => visit_f64(0.0),
            deserialize_str => visit_str(""),
            deserialize_string => visit_str(""),
        }
    };
}

mod quick;

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::StringDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde_json::{Error, Map, Value};

/// Decodes one JSON document.
///
/// # Errors
/// Malformed JSON, a member of the wrong type (the text says which), or data after the document.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    quick::from_slice(bytes).or_else(|_| from_value(serde_json::from_slice(bytes)?))
}

/// Decodes a list and turns each item into something smaller as soon as it is read, so that a long list is never there as a
/// whole. Where a second look at the text is needed, `each` begins again with the first item.
///
/// # Errors
/// As [`from_slice`].
pub fn map_items<T: DeserializeOwned, R>(
    bytes: &[u8],
    mut each: impl FnMut(T) -> R,
) -> Result<Vec<R>, Error> {
    quick::read(bytes, |json| json.deserialize_seq(Each(&mut each, PhantomData)))
        .or_else(|_| Go(serde_json::from_slice(bytes)?).deserialize_seq(Each(&mut each, PhantomData)))
}

/// Asks for a list of `T`, and keeps what the function makes of them.
struct Each<'a, F, T>(&'a mut F, PhantomData<T>);

impl<'de, T: DeserializeOwned, R, F: FnMut(T) -> R> Visitor<'de> for Each<'_, F, T> {
    type Value = Vec<R>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a sequence")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<R>, A::Error> {
        let mut made = Vec::new();
        while let Some(item) = items.next_element()? {
            made.push((self.0)(item));
        }
        Ok(made)
    }
}

/// As [`from_slice`], of a document that is parsed already.
///
/// # Errors
/// A member is of the wrong type.
pub fn from_value<T: DeserializeOwned>(value: Value) -> Result<T, Error> {
    T::deserialize(Go(value))
}

/// Reads an object whose members belong to two structs side by side: Go's embedded structs. (`serde(flatten)` would
/// do, but it hides from the reader which names the structs have.)
pub(crate) fn embedded<'de, D, A, B>(deserializer: D) -> Result<(A, B), D::Error>
where
    D: Deserializer<'de>,
    A: DeserializeOwned,
    B: DeserializeOwned,
{
    let value: Value = serde::Deserialize::deserialize(deserializer)?;
    let first = from_value(value.clone()).map_err(D::Error::custom)?;
    Ok((first, from_value(value).map_err(D::Error::custom)?))
}

/// A value, read with Go's rules.
struct Go(Value);

/// Scalars: null is zero.
macro_rules! zero {
    ($($method:ident => $visit:ident($zero:expr)),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match self.0 {
                Value::Null => visitor.$visit($zero),
                value => value.$method(visitor),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for Go {
    type Error = Error;

    scalars!(zero);

    /// For types that look at what comes: nothing is changed, but what lies inside is read with Go's rules again.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(items) => visitor.visit_seq(Items(items.into_iter())),
            Value::Object(members) => visitor.visit_map(Members::new(members)),
            scalar => scalar.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_seq(Items(Vec::new().into_iter())),
            value => Self(value).deserialize_any(visitor),
        }
    }

    /// A Go array: what is missing is zero, what is too much is skipped.
    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Array(mut items) => {
                items.resize(length, Value::Null);
                visitor.visit_seq(Items(items.into_iter()))
            }
            Value::Null => visitor.visit_seq(Items(vec![Value::Null; length].into_iter())),
            value => value.deserialize_tuple(length, visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Members::new(Map::new())),
            value => Self(value).deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_map(Members::new(Map::new())),
            Value::Object(members) => visitor.visit_map(Members::new(folded(members, fields))),
            Value::Array(_) => Err(Error::invalid_type(Unexpected::Seq, &visitor)),
            value => value.deserialize_any(visitor),
        }
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
        self.0.deserialize_enum(name, variants, visitor)
    }

    serde::forward_to_deserialize_any! {
        char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any
    }
}

impl IntoDeserializer<'_, Error> for Go {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// The members a struct asks for, under the struct's own spelling. A null counts as absent: what is asked for is zero then.
fn folded(members: Map<String, Value>, fields: &[&'static str]) -> Map<String, Value> {
    let mut folded = Map::new();
    let mut others = Vec::new();
    for (key, value) in members {
        if value.is_null() {
            continue;
        }
        if fields.contains(&key.as_str()) {
            folded.insert(key, value);
        } else if let Some(field) = fields.iter().find(|f| f.eq_ignore_ascii_case(&key)) {
            others.push((*field, value));
        }
    }
    for (field, value) in others {
        folded.entry(field).or_insert(value);
    }
    folded
}

/// An array's items.
struct Items(std::vec::IntoIter<Value>);

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        self.0.next().map(|item| seed.deserialize(Go(item))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// An object's members.
struct Members {
    rest: serde_json::map::IntoIter,
    next: Option<(String, Value)>,
}

impl Members {
    fn new(members: Map<String, Value>) -> Self {
        Self { rest: members.into_iter(), next: None }
    }
}

impl<'de> MapAccess<'de> for Members {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        self.next = self.rest.next();
        let Some((key, _)) = &self.next else { return Ok(None) };
        let key: StringDeserializer<Error> = key.clone().into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (key, value) = self.next.take().expect("serde asks for a value after its key");
        seed.deserialize(Go(value)).map_err(|e| Error::custom(format_args!("{key}: {e}")))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::map_items;
    use crate::api::{ContainerCreateRequest, ContainerUpdateRequest, ExecStart, HostConfig, PortSummary};

    fn read(body: &str) -> ContainerCreateRequest {
        let tree: ContainerCreateRequest = super::from_value(serde_json::from_str(body).unwrap()).unwrap();
        if let Ok(quick) = super::quick::from_slice::<ContainerCreateRequest>(body.as_bytes()) {
            assert_eq!(quick, tree, "{body}");
        }
        super::from_slice(body.as_bytes()).unwrap_or_else(|e| panic!("{body}: {e}"))
    }

    #[test]
    fn items_are_read_one_by_one_in_either_way() {
        let ports = |text: &str| map_items(text.as_bytes(), |port: PortSummary| port.private_port).unwrap();
        assert_eq!(ports(r#"[{"PrivatePort":1,"Other":{"x":[1]}},{"PrivatePort":2}, null]"#), [1, 2, 0]);
        // The second one needs another look, and everything is read again.
        assert_eq!(ports(r#"[{"PrivatePort":1},{"privatePORT":2}]"#), [1, 2]);
        assert_eq!(ports("null"), [] as [u16; 0]);
        assert_eq!(ports("[]"), [] as [u16; 0]);
        for wrong in ["", "{}", "[{}", "[{}]x", r#"[{"PrivatePort":"x"}]"#] {
            assert!(map_items(wrong.as_bytes(), |_: PortSummary| ()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn null_is_the_zero_value_and_a_string_is_a_word() {
        let request = read(
            r#"{"Image":"x","Cmd":"ls","Entrypoint":null,"HostConfig":{"Binds":null,"Memory":5,"LogConfig":null},
                "Env":["a",null],"Labels":{"k":null},"ExposedPorts":{"80/tcp":null},"NetworkingConfig":null}"#,
        );
        assert_eq!(request.config.cmd, ["ls"]);
        assert_eq!(request.host_config.resources.memory, 5);
        assert!(request.config.entrypoint.is_empty() && request.host_config.binds.is_empty());
        assert_eq!(request.config.env, ["a", ""]);
        assert_eq!(request.config.labels["k"], "");
        assert!(request.config.exposed_ports.contains_key("80/tcp"));
        assert_eq!(read("null"), ContainerCreateRequest::default());
    }

    #[test]
    fn names_of_structs_match_in_any_case_and_keys_of_maps_are_the_users() {
        let request = read(
            r#"{"image":"x","CMD":["a"],"Cmd":["b"],"labels":{"Image":"1","image":"2"},
                "hostconfig":{"MEMORY":7,"logconfig":{"type":"none"},"portbindings":{"80/tcp":[{"hostport":"1"}]}},
                "networkingconfig":{"endpointsconfig":{"Net":{"ipamconfig":{"ipv4address":"10.0.0.1"}}}}}"#,
        );
        assert_eq!((request.config.image.as_str(), &request.config.cmd), ("x", &vec!["b".to_owned()]));
        assert_eq!(request.config.labels.len(), 2);
        assert_eq!(request.host_config.resources.memory, 7);
        assert_eq!(request.host_config.log_config.r#type, "none");
        assert_eq!(request.host_config.port_bindings["80/tcp"].as_ref().unwrap()[0].host_port, "1");
        let endpoint = &request.networking_config.endpoints_config["Net"];
        assert_eq!(endpoint.ipam_config.as_ref().unwrap().ipv4_address, "10.0.0.1");
        let update: ContainerUpdateRequest =
            super::from_slice(br#"{"memory":1,"restartpolicy":{"name":"always"}}"#).unwrap();
        assert_eq!((update.resources.memory, update.restart_policy.unwrap().name.as_str()), (1, "always"));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut host = HostConfig::default();
        host.resources.memory = 3;
        host.tmpfs.insert("/x".into(), String::new());
        let text = serde_json::to_vec(&host).unwrap();
        assert_eq!(super::quick::from_slice::<HostConfig>(&text).unwrap(), host);
        assert_eq!(super::from_slice::<HostConfig>(&text).unwrap(), host);
        assert_eq!(serde_json::from_slice::<HostConfig>(&text).unwrap(), host);
    }

    #[test]
    fn arrays_of_go_have_their_length() {
        let size = |text: &str| super::from_slice::<ExecStart>(text.as_bytes()).unwrap().console_size;
        assert_eq!(size(r#"{"ConsoleSize":[1]}"#), Some([1, 0]));
        assert_eq!(size(r#"{"ConsoleSize":[1,2,3]}"#), Some([1, 2]));
        assert_eq!(size(r#"{"ConsoleSize":null}"#), None);
    }

    #[test]
    fn the_wrong_type_is_an_error_that_says_where() {
        for (body, place) in [
            (r#"{"HostConfig":{"Memory":"5"}}"#, "HostConfig: Memory: "),
            (r#"{"HostConfig":{"Memory":5.0}}"#, "HostConfig: Memory: "),
            (r#"{"HostConfig":{"Memory":1e3}}"#, "HostConfig: Memory: "),
            (r#"{"HostConfig":{"Memory":9223372036854775808}}"#, "HostConfig: Memory: "),
            (r#"{"Env":"a"}"#, "Env: "),
            (r#"{"Labels":{"a":1}}"#, "Labels: a: "),
            (r#"{"Tty":"true"}"#, "Tty: "),
            (r#"[]"#, "invalid type"),
            (r#"{} x"#, "trailing characters"),
            (r#"{"Image":"#, "EOF"),
            (&format!("{}{}", r#"{"Labels":"#, "[".repeat(1000)), "recursion limit"),
        ] {
            let error = super::from_slice::<ContainerCreateRequest>(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(place), "{body}: {error}");
        }
    }
}
