//! `/_ping`, `/version`, `/info`, `/auth`.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use spec::Filters;
use spec::api::AuthConfig;

use super::{Call, ok, set_type, shaped};
use crate::body::{self, Body};
use crate::error::Result;
use crate::versions;

pub(super) use super::df::disk_usage;

pub(super) fn ping() -> Result<Response<Body>> {
    let mut response = Response::new(Body::full(Bytes::from_static(b"OK")));
    set_type(&mut response, "text/plain; charset=utf-8");
    let headers = response.headers_mut();
    // 1: POST /build; 2 would be BuildKit.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    Ok(response)
}

pub(super) fn version(call: &Call) -> Result<Response<Body>> {
    let mut version = call.engine.version();
    version.min_api_version = call.services.oldest.to_string();
    ok(&version)
}

pub(super) async fn info(call: &Call) -> Result<Response<Body>> {
    shaped(call, &call.engine.info().await?, versions::info)
}

/// There are no managed plugins.
pub(super) fn plugins(call: &Call) -> Result<Response<Body>> {
    Filters::parse(call.query.get("filters"), &["capability", "enabled"])?;
    ok(&[(); 0])
}

pub(super) async fn auth(call: Call) -> Result<Response<Body>> {
    let auth: AuthConfig = body::json(&call.headers, call.body).await?;
    ok(&call.engine.login(auth).await?)
}

/// The credentials in `X-Registry-Auth`. What cannot be read counts as none, as in Docker.
pub(super) fn registry_auth(headers: &HeaderMap) -> Option<AuthConfig> {
    coded(headers, "x-registry-auth").filter(|auth| *auth != AuthConfig::default())
}

/// The credentials in `X-Registry-Config`, by registry; also none when they cannot be read.
pub(super) fn registry_auths(headers: &HeaderMap) -> BTreeMap<String, AuthConfig> {
    coded(headers, "x-registry-config").unwrap_or_default()
}

/// A header of JSON in base64.
pub(super) fn coded<T: serde::de::DeserializeOwned>(headers: &HeaderMap, name: &str) -> Option<T> {
    use base64::Engine as _;
    use base64::engine::DecodePaddingMode;
    use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let text = headers.get(name)?.to_str().ok()?.trim();
    let bytes = [base64::alphabet::URL_SAFE, base64::alphabet::STANDARD]
        .iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())?;
    spec::gojson::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read_with_and_without_padding() {
        // {"username":"u","password":"p?>"} and its ends.
        for text in [
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiJ9",
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA/PiJ9",
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiIgfQ==",
            "eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6InA_PiIgfQ",
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-registry-auth", text.parse().unwrap());
            let auth = registry_auth(&headers).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p?>"));
        }
        for none in ["", "e30", "e30=", "!", "bnVsbA=="] {
            let mut headers = HeaderMap::new();
            headers.insert("x-registry-auth", none.parse().unwrap());
            assert_eq!(registry_auth(&headers), None, "{none}");
        }
    }
}
