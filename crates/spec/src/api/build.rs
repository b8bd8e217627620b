//! What Corten's own client says to Corten's builder beyond the Engine API, and hears from it.
//!
//! The wish travels as base64 JSON in the header [`BUILD_HEADER`] of `POST /build`; descriptors that it counts (`fd:0`)
//! come with the request's bytes over a unix socket. What is heard are `aux` objects under the id [`BUILD_EVENT`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The header that carries a [`BuildWish`].
pub const BUILD_HEADER: &str = "X-Corten-Build";
/// The id of progress lines whose `aux` is a [`BuildEvent`].
pub const BUILD_EVENT: &str = "corten.build";
/// What an engine answers when the descriptors it was promised did not come (a relay is in between): send a tar instead.
pub const NO_DESCRIPTOR: &str = "no descriptor came with the request: send a tar";

/// What an engine answers that cannot take a context in parts just now, or has lost what it had: send all of it.
pub const NO_CONTEXT: &str = "the context is not kept here: send all of it as a tar";

/// `POST /build/context`: what is in a context, for an engine that may have most of it from the last time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContextListing {
    /// Names the context: the same for the same directory of the same client.
    pub key: String,
    /// Directories before what is in them.
    pub entries: Vec<ContextEntry>,
}

/// One file, directory or link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct ContextEntry {
    /// Relative.
    pub path: String,
    /// Kind and permissions, as stat(2) has them.
    pub mode: u32,
    /// Bytes of a file.
    pub size: u64,
    /// Changes whenever the content may have changed.
    pub stamp: String,
}

/// The answer: what is to be sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct ContextOffer {
    /// Goes into [`KeptContext`].
    pub token: String,
    /// Numbers of entries, counted from 0.
    pub wanted: Vec<usize>,
}

/// A context whose new parts are in the body, the others kept by the engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct KeptContext {
    /// As in [`ContextListing`].
    pub key: String,
    /// As in [`ContextOffer`].
    pub token: String,
}

/// What a build is to do that `POST /build` has no parameter for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub struct BuildWish {
    /// How many descriptors come with the request.
    pub descriptors: usize,
    /// Where the context is: `fd:N`, or empty for the body.
    pub context: String,
    /// The body has only what [`ContextOffer`] wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptContext>,
    /// A Dockerfile that is not in the context.
    pub dockerfile: Option<String>,
    /// The ignore file that belongs to it.
    pub ignore: Option<String>,
    /// Further contexts by name: `fd:N`, `docker-image://…`, a URL of git or http.
    pub contexts: BTreeMap<String, String>,
    /// Secrets by id, in base64.
    pub secrets: BTreeMap<String, String>,
    /// Sockets of ssh agents by id.
    pub ssh: BTreeMap<String, String>,
    /// Stages that do not use the cache.
    pub no_cache_filter: Vec<String>,
    /// More than one makes an index.
    pub platforms: Vec<String>,
    /// `type=…` and attributes, each.
    pub outputs: Vec<BTreeMap<String, String>>,
    /// Where cached steps come from.
    pub cache_from: Vec<BTreeMap<String, String>>,
    /// Where they go.
    pub cache_to: Vec<BTreeMap<String, String>>,
    /// `[level:]key=value`.
    pub annotations: Vec<String>,
    /// `provenance` and `sbom` with their attributes; `false` for none.
    pub attest: BTreeMap<String, String>,
    /// `check`, `outline`, `targets`; empty builds.
    pub call: String,
    /// Entitlements: `network.host`, `security.insecure`.
    pub allow: Vec<String>,
    /// One layer above the base image.
    pub squash: bool,
    /// Say what vertices do instead of the classic builder's lines.
    pub events: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BuildEvent {
    /// The vertex it happened to.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub vertex: String,
    /// Said once, before anything else of the vertex.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The vertices it needs, with the name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<String>,
    /// It began (RFC 3339).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub started: String,
    /// It ended (RFC 3339).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub completed: String,
    /// Nothing was done: the cache had it.
    #[serde(skip_serializing_if = "super::is_false")]
    pub cached: bool,
    /// It failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// A piece of its output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub log: String,
    /// A finding of the linter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<BuildWarning>,
    /// Where in the Dockerfile the build failed, as lines to show.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub excerpt: String,
    /// A piece of an output that goes to the client, in base64.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub data: String,
    /// Which output it is of, counted from 0; with `data`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<usize>,
    /// What `--metadata-file` gets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, serde_json::Value>,
    /// The answer to a `call`, as text and as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<BuildAnswer>,
}

/// A finding of the linter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct BuildWarning {
    /// The rule's name, which is BuildKit's.
    pub rule_name: String,
    /// What the rule is about.
    pub description: String,
    /// Where more is said.
    pub url: String,
    /// What was found.
    pub detail: String,
    /// The file it was found in.
    pub file: String,
    /// The line it was found on, counted from 1.
    pub line: u32,
}

/// What a `call` found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct BuildAnswer {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
    /// 1 for findings of `check`.
    pub code: u8,
}
