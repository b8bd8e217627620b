//! Where an image is from, as far as this engine has seen it: nothing that the image says of itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What is known of a target's origin. All names of a target have the same.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Full names of the repositories that it was pulled from or pushed to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub repositories: BTreeSet<String>,
    /// The build that made it here. A later one that found all of it in the cache made nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Build>,
    /// Signatures that were good when it was pulled.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signatures: BTreeSet<Signature>,
}

/// A build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its id: that in the provenance which it wrote.
    pub id: String,
    /// When it began (RFC 3339).
    pub started: String,
}

/// A signature that one of the policy's keys has made.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature {
    /// The key, as the policy names it.
    pub key: String,
    /// What it is written in, in the Engine API's words: `simplesigning-v1` or `bundle-v0.3`.
    pub format: String,
    /// The name that was signed with it, if there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reference: String,
}

impl Origin {
    /// Of a repository.
    pub fn repository(name: String) -> Self {
        Self { repositories: BTreeSet::from([name]), ..Self::default() }
    }

    /// Adds what another one knows; whether that is news.
    pub(crate) fn learn(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.repositories.extend(other.repositories.iter().cloned());
        self.build = self.build.take().or_else(|| other.build.clone());
        self.signatures.extend(other.signatures.iter().cloned());
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_build_stays_and_the_rest_adds_up() {
        let built = |id: &str| Origin {
            build: Some(Build { id: id.into(), started: "2020-01-02T03:04:05Z".into() }),
            ..Origin::default()
        };
        let mut origin = Origin::repository("docker.io/library/a".into());
        assert!(origin.learn(&built("1")) && !origin.learn(&built("2")));
        assert!(origin.learn(&Origin::repository("docker.io/library/b".into())));
        assert!(!origin.learn(&Origin::repository("docker.io/library/a".into())));
        assert_eq!((origin.repositories.len(), origin.build), (2, built("1").build));
    }
}
