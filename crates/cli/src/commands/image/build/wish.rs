//! What a build is to do that only Corten's engine knows.

use std::os::fd::OwnedFd;
use std::path::Path;

use client::{Client, Host};
use spec::api::BuildWish;

use super::Build;
use crate::error::{Error, Result};
use crate::flags::secret;

/// The wish, and the directories that go with it.
pub(super) fn of(build: &Build, client: &Client) -> Result<(BuildWish, Vec<OwnedFd>)> {
    let mut descriptors = Vec::new();
    let mut wish = BuildWish {
        no_cache_filter: build.no_cache_filter.clone(),
        platforms: if build.platform.len() > 1 { build.platform.clone() } else { Vec::new() },
        allow: build.allow.clone(),
        squash: build.squash,
        events: true,
        ..BuildWish::default()
    };
    for text in &build.build_context {
        let (name, place) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid build context {text}: expected name=value")))?;
        let place = if place.contains("://") {
            place.to_owned()
        } else if matches!(client.host(), Host::Unix(_)) {
            descriptors.push(open(Path::new(place))?);
            format!("fd:{}", descriptors.len() - 1)
        } else {
            return Err(Error::invalid(format!(
                "build context {name}: a directory can be given to an engine on the same machine only"
            )));
        };
        wish.contexts.insert(name.to_owned(), place);
    }
    for text in &build.secret {
        let read = secret::read(text).map_err(Error::Invalid)?;
        wish.secrets.insert(read.name, read.data);
    }
    for text in &build.ssh {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), path.to_owned()),
            None => {
                let path = crate::app::env("SSH_AUTH_SOCK").ok_or_else(|| {
                    Error::invalid(format!(
                        "invalid empty ssh agent socket: --ssh {text} needs SSH_AUTH_SOCK"
                    ))
                })?;
                (text.clone(), path)
            }
        };
        wish.ssh.insert(id, path);
    }
    wish.descriptors = descriptors.len();
    Ok((wish, descriptors))
}

/// A directory, to be read by the engine.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let file = std::fs::File::open(path).map_err(Error::file("unable to prepare context:", path))?;
    if !file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(Error::invalid(format!(
            "unable to prepare context: not a directory: {}",
            path.display()
        )));
    }
    Ok(file.into())
}

/// The same wish for an engine that descriptors do not reach.
pub(super) fn without_descriptors(wish: &mut BuildWish) -> Result<()> {
    if let Some((name, _)) = wish.contexts.iter().find(|(_, place)| place.starts_with("fd:")) {
        return Err(Error::invalid(format!(
            "build context {name}: a directory can be given to an engine on the same machine only"
        )));
    }
    (wish.context, wish.descriptors) = (String::new(), 0);
    // In the tar, now.
    (wish.dockerfile, wish.ignore) = (None, None);
    Ok(())
}

/// Refuses what another engine's classic builder cannot do.
pub(super) fn nothing_beyond(build: &Build) -> Result<()> {
    let given = [
        ("--allow", !build.allow.is_empty()),
        ("--build-context", !build.build_context.is_empty()),
        ("--no-cache-filter", !build.no_cache_filter.is_empty()),
        ("--platform with several platforms", build.platform.len() > 1),
        ("--secret", !build.secret.is_empty()),
        ("--squash", build.squash),
        ("--ssh", !build.ssh.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::invalid(format!("{flag} needs Corten's engine: this one is another"))),
        None => Ok(()),
    }
}
