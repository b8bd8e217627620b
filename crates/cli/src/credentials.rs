//! Credentials of registries: in `config.json`, or with a helper program that keeps them safe.
//!
//! A helper is a program `docker-credential-<name>` with the verbs `get`, `store`, `erase` and `list`. It reads a
//! registry's key, or JSON, from its standard input and writes JSON to its standard output; a failure's text is there
//! too. `credHelpers` names one for a registry, `credsStore` one for all others.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value, json};
use spec::Reference;
use spec::api::AuthConfig;

use crate::app::env;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::print;

/// The key of Docker Hub's credentials.
pub(crate) const HUB: &str = "https://index.docker.io/v1/";
/// The user name under which helpers keep identity tokens.
const TOKEN: &str = "<token>";
/// What helpers say of a registry they do not know.
const NOT_FOUND: &str = "credentials not found in native keychain";

impl Config {
    /// The credentials of one registry; empty when there are none.
    pub(crate) fn credentials(&self, server: &str) -> Result<AuthConfig> {
        let from_env = env("DOCKER_AUTH_CONFIG").and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let from_env = from_env.as_ref().and_then(|value| value.get("auths")?.as_object());
        if let Some(found) = from_env.and_then(|auths| entry(auths, server)) {
            return Ok(found);
        }
        match self.helper(server) {
            Some(helper) => get(&helper, server),
            None => Ok(self.object("auths").and_then(|auths| entry(auths, server)).unwrap_or_default()),
        }
    }

    /// `X-Registry-Auth` for an image: base64 of the credentials of its registry. Without an answer from the helper
    /// none are sent: most images are for everybody.
    pub(crate) fn registry_auth(&self, image: &Reference) -> String {
        encode(&self.credentials_of(image).unwrap_or_default())
    }

    /// The credentials for an image's registry, if there are any.
    pub(crate) fn credentials_of(&self, image: &Reference) -> Option<AuthConfig> {
        let server = if image.domain == spec::reference::DEFAULT_DOMAIN { HUB } else { &image.domain };
        Some(self.credentials(server).unwrap_or_else(warn)).filter(|auth| !is_empty(auth))
    }

    /// `X-Registry-Auth` for a registry.
    pub(crate) fn encoded(&self, server: &str) -> String {
        encode(&self.credentials(server).unwrap_or_else(warn))
    }

    /// `X-Registry-Config`: the credentials of all registries.
    pub(crate) fn all_registries(&self) -> String {
        let mut all = BTreeMap::new();
        for (key, value) in self.object("auths").into_iter().flatten() {
            all.insert(key.clone(), read_entry(key, value));
        }
        if let Some(store) = self.text("credsStore") {
            for server in list(store).unwrap_or_else(warn) {
                let auth = get(store, &server).unwrap_or_else(warn);
                all.insert(server, auth);
            }
        }
        for (server, helper) in self.object("credHelpers").into_iter().flatten() {
            if let Some(helper) = helper.as_str() {
                all.insert(server.clone(), get(helper, server).unwrap_or_else(warn));
            }
        }
        all.retain(|_, auth| !is_empty(auth));
        if all.is_empty() { String::new() } else { encode(&all) }
    }

    /// Remembers credentials; whether the file has got a secret that it did not have.
    pub(crate) fn store(&self, server: &str, auth: &AuthConfig) -> Result<bool> {
        let mut auths = self.object("auths").cloned().unwrap_or_default();
        let Some(helper) = self.helper(server) else {
            let entry = if auth.identitytoken.is_empty() {
                json!({ "auth": STANDARD.encode(format!("{}:{}", auth.username, auth.password)) })
            } else {
                json!({
                    "auth": STANDARD.encode(format!("{}:", auth.username)),
                    "identitytoken": auth.identitytoken,
                })
            };
            let is_new = auths.insert(server.to_owned(), entry.clone()) != Some(entry);
            self.set("auths", Some(auths.into()))?;
            return Ok(is_new);
        };
        let (user, secret) = match auth.identitytoken.as_str() {
            "" => (auth.username.as_str(), auth.password.as_str()),
            token => (TOKEN, token),
        };
        let request = json!({ "ServerURL": server, "Username": user, "Secret": secret }).to_string();
        ask(&helper, "store", &request)?.map_err(|text| refused(&helper, "store", &text))?;
        // An empty entry says that the helper knows this registry; a secret from before is no longer kept here.
        auths.insert(server.to_owned(), json!({}));
        self.set("auths", Some(auths.into()))?;
        Ok(false)
    }

    /// Forgets credentials, if there are any.
    pub(crate) fn erase(&self, server: &str) -> Result<()> {
        let mut auths = self.object("auths").cloned().unwrap_or_default();
        let known = auths.remove(server).is_some();
        if let Some(helper) = self.helper(server) {
            match ask(&helper, "erase", server)? {
                Ok(_) => {}
                Err(text) if text == NOT_FOUND => {}
                Err(text) => return Err(refused(&helper, "erase", &text)),
            }
        }
        if known { self.set("auths", Some(auths.into())) } else { Ok(()) }
    }

    /// The helper of one registry.
    fn helper(&self, server: &str) -> Option<String> {
        let own = self.object("credHelpers").and_then(|helpers| {
            let key = helpers.keys().find(|key| *key == server || host_of(key) == host_of(server))?;
            helpers[key].as_str()
        });
        own.or_else(|| self.text("credsStore")).filter(|name| !name.is_empty()).map(str::to_owned)
    }
}

fn get(helper: &str, server: &str) -> Result<AuthConfig> {
    let answer = match ask(helper, "get", server)? {
        Ok(answer) => answer,
        Err(text) if text == NOT_FOUND => return Ok(AuthConfig::default()),
        Err(text) => return Err(refused(helper, "get", &text)),
    };
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|error| refused(helper, "get", &format!("its answer is no JSON: {error}")))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut auth = AuthConfig { serveraddress: server.to_owned(), ..AuthConfig::default() };
    match text("Username") {
        token if token == TOKEN => auth.identitytoken = text("Secret"),
        user => (auth.username, auth.password) = (user, text("Secret")),
    }
    Ok(auth)
}

/// The registries a helper knows.
fn list(helper: &str) -> Result<Vec<String>> {
    let answer = ask(helper, "list", "")?.map_err(|text| refused(helper, "list", &text))?;
    let answer: Map<String, Value> = serde_json::from_str(&answer)
        .map_err(|error| refused(helper, "list", &format!("its answer is no JSON: {error}")))?;
    Ok(answer.into_iter().map(|(server, _)| server).collect())
}

/// Runs a helper: what it says, or as an error what it says when it fails.
#[allow(clippy::disallowed_methods, reason = "helpers are programs of the user's choice")]
fn ask(helper: &str, verb: &str, input: &str) -> Result<std::result::Result<String, String>> {
    let program = format!("docker-credential-{helper}");
    let failed = |source| Error::file("error getting credentials: cannot run", &program)(source);
    let mut child = std::process::Command::new(&program)
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that fails before it has read says why on its standard output.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(if output.status.success() { Ok(text) } else { Err(text) })
}

fn refused(helper: &str, verb: &str, text: &str) -> Error {
    let text = if text.is_empty() { "it failed without a word" } else { text };
    Error::invalid(format!("error getting credentials: docker-credential-{helper} {verb}: {text}"))
}

/// Goes on without what a helper would have said.
fn warn<T: Default>(error: Error) -> T {
    print::err_line(format!("WARNING: {}", error.line()));
    T::default()
}

fn is_empty(auth: &AuthConfig) -> bool {
    auth.username.is_empty()
        && auth.password.is_empty()
        && auth.identitytoken.is_empty()
        && auth.registrytoken.is_empty()
}

fn encode(value: &impl serde::Serialize) -> String {
    URL_SAFE.encode(serde_json::to_vec(value).expect("text keys only"))
}

/// The entry of a registry, whose key may be a URL.
fn entry(auths: &Map<String, Value>, server: &str) -> Option<AuthConfig> {
    let key = auths
        .keys()
        .find(|key| *key == server)
        .or_else(|| auths.keys().find(|key| host_of(key) == host_of(server)))?;
    Some(read_entry(key, &auths[key]))
}

fn read_entry(server: &str, entry: &Value) -> AuthConfig {
    let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let decoded = STANDARD.decode(text("auth")).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let (username, password) = match decoded.as_deref().and_then(|pair| pair.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (text("username"), text("password")),
    };
    AuthConfig {
        username,
        password,
        serveraddress: server.to_owned(),
        identitytoken: text("identitytoken"),
        registrytoken: text("registrytoken"),
        auth: String::new(),
    }
}

/// The host of a key that may be a URL.
fn host_of(server: &str) -> &str {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}
