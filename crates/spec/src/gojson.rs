//! Reading JSON as Go's decoder does: `null` is the zero value, trailing data is an error.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// Decodes one JSON document. `null` members count as absent, so they take the type's default.
///
/// # Errors
/// Malformed JSON, a member of the wrong type, or data after the document.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(bytes)?;
    drop_nulls(&mut value);
    serde_json::from_value(value)
}

/// Removes the null members of every object, at any depth. Nulls in arrays stay.
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, v| !v.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::api::ContainerCreateRequest;

    #[test]
    fn null_is_the_zero_value_and_a_string_is_a_word() {
        let body = br#"{"Image":"x","Cmd":"ls","Entrypoint":null,"HostConfig":{"Binds":null,"Memory":5}}"#;
        let request: ContainerCreateRequest = super::from_slice(body).unwrap();
        assert_eq!(request.config.cmd, ["ls"]);
        assert_eq!(request.host_config.resources.memory, 5);
        assert!(request.config.entrypoint.is_empty() && request.host_config.binds.is_empty());
        assert!(super::from_slice::<ContainerCreateRequest>(b"{} x").is_err());
    }
}
