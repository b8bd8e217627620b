//! Where a stage is: its layers, its configuration, the ARGs in scope.

use spec::Digest;
use spec::api::Platform;
use spec::oci::image::{Descriptor, History, Image};
use store::ChainId;

use crate::error::{Error, Result};
use crate::key::Hasher;
use crate::words;

/// A stage between two of its steps. The next step makes the next state; none is ever changed back.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// The unpacked stack; `None` is nothing (`FROM scratch`).
    pub(crate) chain: Option<ChainId>,
    /// The layers' blobs, lowest first.
    pub(crate) layers: Vec<Descriptor>,
    /// Configuration, DiffIDs, history.
    pub(crate) image: Image,
    /// ARGs declared so far, later ones win; `None` has no value.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    /// A CMD stands in this stage, so an ENTRYPOINT after it keeps it.
    pub(crate) own_cmd: bool,
}

/// Proxy settings that a RUN gets without an ARG; history and cache do not know them then.
pub(crate) const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The comment on every history entry, by which others know how to read it.
const COMMENT: &str = "buildkit.dockerfile.v0";

impl State {
    /// Nothing at all.
    pub(crate) fn scratch(platform: &Platform) -> Self {
        let image = Image {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            config: spec::oci::image::ImageConfig {
                env: vec![format!("PATH={}", spec::defaults::PATH)],
                working_dir: "/".into(),
                ..Default::default()
            },
            ..Image::default()
        };
        Self { image, ..Self::default() }
    }

    /// The value a word of the Dockerfile sees: ENV wins over ARG.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.env(name).map(ToOwned::to_owned).or_else(|| self.argument(name))
    }

    /// An environment variable of the image.
    pub(crate) fn env(&self, name: &str) -> Option<&str> {
        self.image
            .config
            .env
            .iter()
            .find_map(|e| e.split_once('=').filter(|(n, _)| *n == name))
            .map(|(_, v)| v)
    }

    fn argument(&self, name: &str) -> Option<String> {
        self.arguments.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone())
    }

    /// Sets an environment variable.
    pub(crate) fn set_env(&mut self, name: &str, value: &str) {
        let entry = format!("{name}={value}");
        let mut variables = self.image.config.env.iter_mut();
        match variables.find(|e| e.split_once('=').is_some_and(|(n, _)| n == name)) {
            Some(old) => *old = entry,
            None => self.image.config.env.push(entry),
        }
    }

    /// Replaces the variables in a word.
    pub(crate) fn expand(&self, text: &str, escape: char, line: u32) -> Result<String> {
        words::expand(text, escape, &|name: &str| self.variable(name))
            .map_err(|e| Error::at(line, format!("failed to process {text:?}: {e}")))
    }

    /// ARGs that have a value and that no ENV hides, in the order of their first declaration.
    pub(crate) fn effective_arguments(&self) -> Vec<(String, String)> {
        let mut effective: Vec<(String, String)> = Vec::new();
        for (name, _) in &self.arguments {
            if self.env(name).is_none()
                && !effective.iter().any(|(n, _)| n == name)
                && let Some(value) = self.argument(name)
            {
                effective.push((name.clone(), value));
            }
        }
        effective
    }

    /// The working directory, `/` when none is set.
    pub(crate) fn working_dir(&self) -> &str {
        match self.image.config.working_dir.as_str() {
            "" => "/",
            dir => dir,
        }
    }

    /// Adds a history entry.
    pub(crate) fn record(&mut self, created_by: String, created: &str, empty_layer: bool) {
        self.image.created = Some(created.to_owned());
        self.image.history.push(History {
            created: Some(created.to_owned()),
            created_by,
            comment: COMMENT.into(),
            empty_layer,
            ..History::default()
        });
    }

    /// Adds a layer.
    pub(crate) fn push_layer(&mut self, chain: ChainId, blob: Descriptor, diff_id: Digest) {
        self.chain = Some(chain);
        self.layers.push(blob);
        self.image.rootfs.diff_ids.push(diff_id);
    }

    /// The state as one digest: layers and configuration, without times.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        self.hash_root(&mut hasher);
        let config = serde_json::to_vec(&self.image.config).expect("a configuration is plain data");
        hasher.field(&config).field(self.image.author.as_bytes());
        for (name, value) in &self.arguments {
            hasher.field(name.as_bytes()).field(value.as_deref().unwrap_or("\0").as_bytes());
        }
        hasher.finish()
    }

    /// Feeds what a step that reads the root depends on.
    pub(crate) fn hash_root(&self, hasher: &mut Hasher) {
        match &self.chain {
            Some(chain) => hasher.field(chain.0.as_bytes()),
            None => hasher.field(b""),
        };
        hasher.field(self.image.os.as_bytes());
        hasher.field(self.image.architecture.as_bytes()).field(self.image.variant.as_bytes());
    }
}
