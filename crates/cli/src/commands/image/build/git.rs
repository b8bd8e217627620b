//! A git repository as a context: checked out by the user's own `git`, with the user's keys and settings.

use std::path::PathBuf;

use spec::git::Address;

use crate::error::{Error, Result};

/// A checkout in a directory of its own. Dropped: removed.
#[derive(Debug)]
pub(super) struct Checkout {
    directory: PathBuf,
    subdirectory: String,
}

impl Checkout {
    /// Checks a repository out, if the word names one: `….git[#reference[:directory]]`, `git@…`, `….git?branch=…`.
    pub(super) fn of(source: &str) -> Result<Option<Self>> {
        let invalid = |error| Error::invalid(format!("unable to prepare context: {source}: {error}"));
        let Some(address) = Address::parse(source).map_err(invalid)? else { return Ok(None) };
        let directory = std::env::temp_dir().join(format!("corten-git-{}-{}", std::process::id(), random()));
        std::fs::create_dir(&directory).map_err(Error::file("cannot make", &directory))?;
        let checkout = Self { directory, subdirectory: address.subdir };
        let reference = if address.reference.is_empty() { "HEAD" } else { &address.reference };
        checkout.git(&["init", "--quiet"])?;
        checkout.git(&["remote", "add", "origin", &address.url])?;
        checkout.git(&["fetch", "--quiet", "--depth", "1", "origin", "--", reference])?;
        checkout.git(&["checkout", "--quiet", "FETCH_HEAD"])?;
        if let Some(expected) = &address.checksum {
            let commit = std::fs::read_to_string(checkout.directory.join(".git/HEAD")).unwrap_or_default();
            if !commit.starts_with(&expected.to_ascii_lowercase()) {
                let got = commit.trim();
                return Err(Error::invalid(format!(
                    "unable to prepare context: expected checksum to match {expected}, got {got}"
                )));
            }
        }
        if address.submodules {
            checkout.git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"])?;
        }
        // As BuildKit: the repository's own files are no part of the context.
        if address.keep_git_dir != Some(true) {
            let own = checkout.directory.join(".git");
            std::fs::remove_dir_all(&own).map_err(Error::file("cannot remove", own))?;
        }
        Ok(Some(checkout))
    }

    /// The context in it.
    pub(super) fn directory(&self) -> Result<PathBuf> {
        let path = self.directory.join(&self.subdirectory);
        let real = std::fs::canonicalize(&path).ok().filter(|real| {
            std::fs::canonicalize(&self.directory).is_ok_and(|top| real.starts_with(top)) && real.is_dir()
        });
        real.ok_or_else(|| Error::invalid(format!("the repository has no directory {:?}", self.subdirectory)))
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the user's own git, with the user's keys, in the command line only"
    )]
    fn git(&self, words: &[&str]) -> Result<()> {
        let status = std::process::Command::new("git")
            .args(words)
            .current_dir(&self.directory)
            .env("GIT_TERMINAL_PROMPT", "0")
            .stdin(std::process::Stdio::null())
            .status();
        match status {
            Ok(status) if status.success() => Ok(()),
            Ok(_) => {
                Err(Error::invalid(format!("unable to prepare context: git {} failed", words.join(" "))))
            }
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Err(Error::invalid(
                "unable to prepare context: a git repository needs git, which is not installed",
            )),
            Err(source) => Err(Error::Io { what: "cannot run git", source }),
        }
    }
}

impl Drop for Checkout {
    fn drop(&mut self) {
        // What stays is in the directory for temporary files.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A number nobody guesses, so that nobody is there before us.
fn random() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
