//! How to serve, and the file that says so.

mod file;
mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::Proxies;

use super::pattern::Pattern;
use super::storage::BucketConfig;
use super::token::Issuer;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 is any.
    pub listen: SocketAddr,
    /// Where content is kept, unless in a bucket.
    pub root: PathBuf,
    /// Users and bcrypt hashes (htpasswd).
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain and key, PEM; `None` is plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Where numbers for Prometheus are served, if anywhere.
    pub metrics: Option<SocketAddr>,
    /// Nothing is taken or removed.
    pub read_only: bool,
    /// Whether there is a page for people.
    pub page: bool,
    /// The way to others: an object store, the registry this one is a cache of, webhooks.
    pub proxies: Proxies,
    pub(crate) settings: Settings,
}

/// What only the file can say.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The address clients use, where a proxy before this server hides it.
    pub(crate) external: Option<String>,
    /// Told to every client (`Warning: 299`).
    pub(crate) warning: Option<String>,
    /// The largest blob that is taken.
    pub(crate) max_blob: u64,
    pub(crate) groups: BTreeMap<String, Vec<String>>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) token: Option<Issuer>,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) bucket: Option<BucketConfig>,
    pub(crate) retention: Vec<Retention>,
    pub(crate) quotas: Vec<Quota>,
    pub(crate) webhooks: Vec<Webhook>,
    pub(crate) collect: Collect,
}

/// What can be done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Push,
    Delete,
}

impl Action {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

/// Who may do what where.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) repositories: Vec<Pattern>,
    /// `*` is everyone with a name.
    pub(crate) users: Vec<String>,
    pub(crate) groups: Vec<String>,
    /// Everyone, named or not.
    pub(crate) anonymous: bool,
    pub(crate) allow: Vec<Action>,
}

/// The registry that this one is a cache of.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    /// Host and port.
    pub(crate) upstream: String,
    pub(crate) insecure: bool,
    pub(crate) username: String,
    pub(crate) password_file: Option<PathBuf>,
    /// For so long a tag is believed without asking.
    pub(crate) revalidate: Duration,
}

/// Which tags go by themselves.
#[derive(Debug, Clone)]
pub(crate) struct Retention {
    pub(crate) repositories: Vec<Pattern>,
    pub(crate) tags: Vec<Pattern>,
    pub(crate) except: Vec<Pattern>,
    pub(crate) keep_last: Option<usize>,
    pub(crate) keep_within: Option<Duration>,
    /// Manifests that have had no tag for so long.
    pub(crate) untagged_after: Option<Duration>,
}

/// How large a repository may be.
#[derive(Debug, Clone)]
pub(crate) struct Quota {
    pub(crate) repositories: Vec<Pattern>,
    pub(crate) size: u64,
}

/// Who is told of what happens.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) url: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) actions: Vec<String>,
    pub(crate) repositories: Vec<Pattern>,
}

/// When content that nothing refers to goes.
#[derive(Debug, Clone)]
pub(crate) struct Collect {
    /// `None`: only when asked.
    pub(crate) every: Option<Duration>,
    /// What is younger is left alone: a push may be about to refer to it.
    pub(crate) grace: Duration,
    /// Uploads that nobody went on with for so long.
    pub(crate) uploads: Duration,
}

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            root: "/var/lib/corten-registry".into(),
            htpasswd: None,
            tls: None,
            metrics: None,
            read_only: false,
            page: true,
            proxies: Proxies::default(),
            settings: Settings {
                external: None,
                warning: None,
                max_blob: 100 << 30,
                groups: BTreeMap::new(),
                rules: Vec::new(),
                token: None,
                proxy: None,
                bucket: None,
                retention: Vec::new(),
                quotas: Vec::new(),
                webhooks: Vec::new(),
                collect: Collect { every: Some(DAY), grace: Duration::from_secs(3600), uploads: 7 * DAY },
            },
        }
    }
}

impl Config {
    /// Where content is kept, in words.
    pub fn place(&self) -> String {
        match &self.settings.bucket {
            Some(bucket) => format!("bucket {} at {}", bucket.bucket, bucket.endpoint),
            None => self.root.display().to_string(),
        }
    }

    /// Whether the place was chosen.
    pub fn has_place(&self) -> bool {
        self.settings.bucket.is_some() || self.root != Self::default().root
    }

    /// The most that a repository may hold, if that is bounded.
    pub(crate) fn quota(&self, repository: &str) -> Option<u64> {
        let quotas = self.settings.quotas.iter();
        quotas.filter(|q| q.repositories.iter().any(|p| p.matches(repository))).map(|q| q.size).min()
    }
}
