//! A git repository as a context: checked out by the user's own `git`, with the user's keys and settings.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// A checkout in a directory of its own. Dropped: removed.
#[derive(Debug)]
pub(super) struct Checkout {
    directory: PathBuf,
    subdirectory: String,
}

impl Checkout {
    /// Checks a repository out, if the word names one: `….git[#reference[:directory]]`, `git@…`, `git://…`, `ssh://…`.
    pub(super) fn of(source: &str) -> Result<Option<Self>> {
        let (address, fragment) = source.split_once('#').unwrap_or((source, ""));
        let by_scheme = ["git@", "git://", "ssh://", "github.com/"].iter().any(|p| address.starts_with(p));
        let by_name = ["http://", "https://", "file://"].iter().any(|p| address.starts_with(p))
            && address.ends_with(".git");
        if !by_scheme && !by_name {
            return Ok(None);
        }
        let url = match address.strip_prefix("github.com/") {
            Some(_) => format!("https://{address}"),
            None => address.to_owned(),
        };
        let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
        let directory = std::env::temp_dir().join(format!("corten-git-{}-{}", std::process::id(), random()));
        std::fs::create_dir(&directory).map_err(Error::file("cannot make", &directory))?;
        let checkout = Self { directory, subdirectory: subdirectory.trim_matches('/').to_owned() };
        let reference = if reference.is_empty() { "HEAD" } else { reference };
        checkout.git(&["init", "--quiet"])?;
        checkout.git(&["remote", "add", "origin", &url])?;
        checkout.git(&["fetch", "--quiet", "--depth", "1", "origin", "--", reference])?;
        checkout.git(&["checkout", "--quiet", "FETCH_HEAD"])?;
        checkout.git(&["submodule", "--quiet", "update", "--init", "--recursive", "--depth", "1"])?;
        // As BuildKit: the repository's own files are no part of the context.
        let own = checkout.directory.join(".git");
        std::fs::remove_dir_all(&own).map_err(Error::file("cannot remove", own))?;
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
