//! Where a stage is while the graph is made: its root's edge, its configuration, the ARGs in scope.

use std::sync::{Arc, Mutex, PoisonError};

use spec::Digest;
use spec::api::Platform;
use spec::oci::image::Image;

use crate::error::{Error, Result};
use crate::graph::Edge;
use crate::instructions::read::nearest;
use crate::key::Hasher;
use crate::words::{self, Variables};

/// A stage between two of its steps. The next step makes the next state; none is ever changed back.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Its files; `None` is nothing (`FROM scratch`).
    pub(crate) root: Option<Edge>,
    /// Configuration, and the base image's history.
    pub(crate) image: Image,
    /// Where the root was before the first step: for `--squash`.
    pub(crate) base: Option<Edge>,
    /// Steps since the base image, those of stages below included.
    pub(crate) steps: Vec<Done>,
    /// ARGs declared so far, later ones win; `None` has no value.
    pub(crate) arguments: Vec<(String, Option<String>)>,
    /// A CMD stands in this stage, so an ENTRYPOINT after it keeps it.
    pub(crate) own_cmd: bool,
    /// Variables that words named and that were not set, with their lines and what may have been meant: for the linter.
    pub(crate) undefined: Arc<Mutex<Vec<Undefined>>>,
}

/// A variable that a word named and that was not set.
#[derive(Debug, Clone)]
pub(crate) struct Undefined {
    pub(crate) line: u32,
    pub(crate) name: String,
    /// One that is set and has nearly this name.
    pub(crate) near: Option<String>,
}

/// A state's variables, as the words on a line see them.
pub(crate) struct Seen<'s> {
    state: &'s State,
    line: u32,
}

impl Variables for Seen<'_> {
    fn get(&self, name: &str) -> Option<String> {
        self.state.variable(name)
    }

    fn undefined(&self, name: &str) {
        let declared = self.state.arguments.iter().any(|(declared, _)| declared == name);
        if !declared {
            let set = self.state.image.config.env.iter().filter_map(|entry| entry.split_once('='));
            let mut known: Vec<&str> = set.map(|(name, _)| name).collect();
            known.extend(self.state.arguments.iter().map(|(name, _)| name.as_str()));
            let near = nearest(name, &known).map(ToOwned::to_owned);
            let mut undefined = self.state.undefined.lock().unwrap_or_else(PoisonError::into_inner);
            undefined.push(Undefined { line: self.line, name: name.to_owned(), near });
        }
    }
}

/// A step that is in the graph, for history.
#[derive(Debug, Clone)]
pub(crate) struct Done {
    /// As history has it.
    pub(crate) text: String,
    /// What it made; `None` for a step that changes only the configuration.
    pub(crate) edge: Option<Edge>,
    /// The root and the configuration it started from.
    pub(crate) before: (Option<Edge>, Digest),
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

    /// The platform it is for.
    pub(crate) fn platform(&self) -> Platform {
        Platform {
            architecture: self.image.architecture.clone(),
            os: self.image.os.clone(),
            variant: self.image.variant.clone(),
            ..Platform::default()
        }
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

    /// Its variables, for the words on a line.
    pub(crate) fn seen(&self, line: u32) -> Seen<'_> {
        Seen { state: self, line }
    }

    /// Replaces the variables in a word.
    pub(crate) fn expand(&self, text: &str, escape: char, line: u32) -> Result<String> {
        words::expand(text, escape, &self.seen(line))
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

    /// The configuration as one digest, without times and files.
    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Hasher::default();
        let config = serde_json::to_vec(&self.image.config).expect("a configuration is plain data");
        hasher
            .field(&config)
            .field(self.image.author.as_bytes())
            .field(self.platform().to_string().as_bytes());
        for (name, value) in &self.arguments {
            hasher.field(name.as_bytes()).field(value.as_deref().unwrap_or("\0").as_bytes());
        }
        hasher.finish()
    }
}
