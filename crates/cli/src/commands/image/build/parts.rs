//! A context for an engine elsewhere that has most of it from the last time: only what has changed travels.

use std::path::Path;

use client::{BuildOptions, Client, JsonLines};
use spec::api::{BuildWish, ContextListing, KeptContext, NO_CONTEXT, Progress};

use super::source::{Dockerfile, packed};
use crate::error::{Error, Result};

/// Sends what the engine wants of a directory, and the build; `None` when it takes no parts: then all is to be sent.
pub(super) async fn send(
    client: &Client,
    options: &mut BuildOptions,
    wish: &mut BuildWish,
    directory: &Path,
    dockerfile: &Dockerfile,
) -> Result<Option<JsonLines<Progress>>> {
    let (context, _) = packed(directory, dockerfile.clone())?;
    let read = |source| Error::Io { what: "unable to prepare context", source };
    let Some(entries) = context.listing().map_err(read)? else { return Ok(None) };
    let listing = ContextListing { key: key(directory), entries };
    let offer = match client.build_context(&listing).await {
        Ok(offer) => offer,
        // An older engine, a busy one, or too long a list: each takes a tar.
        Err(client::Error::Daemon { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let ContextListing { key, entries } = listing;
    let mut wanted = Vec::new();
    for number in offer.wanted {
        let Some(entry) = entries.get(number) else { return Ok(None) };
        wanted.push(entry.path.clone());
    }
    wish.kept = Some(KeptContext { key, token: offer.token });
    options.wish = Some(wish.clone());
    wish.kept = None;
    match client.image_build(options, Some(context.upload_of(wanted)), Vec::new()).await {
        Err(client::Error::Daemon { message, .. }) if message == NO_CONTEXT => Ok(None),
        answer => Ok(Some(answer?)),
    }
}

/// Names a directory of this machine among all directories of all clients.
fn key(directory: &Path) -> String {
    let machine = ["/etc/machine-id", "/proc/sys/kernel/random/boot_id"];
    let machine = machine.iter().find_map(|path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    });
    format!("{}:{}", machine.unwrap_or_default(), directory.display())
}
