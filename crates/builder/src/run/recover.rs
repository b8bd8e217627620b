//! What builds leave behind when the daemon is killed: running steps, networks, scratch directories, writable layers.

use std::path::Path;

use shim::client::Connection;
use shim::proto::Event;
use spec::Id;
use sys::file;

use super::cancel::kill;
use crate::Host;
use crate::cache;
use crate::error::Result;
use crate::writable;

/// Ends and removes all of it; returns how many steps and layers there were. What cannot be removed is said in the log
/// and does not keep the rest.
pub(crate) fn recover(host: &Host) -> Result<usize> {
    let mut found = 0;
    for name in file::list(&host.run)? {
        found += 1;
        let dir = host.run.join(&name);
        end(&dir.join("shim"));
        if let Some(id) = Id::parse(&name)
            && let Err(error) = host.networks.release(&id)
        {
            tracing::warn!(id = id.short(), %error, "a dead build step's network stays behind");
        }
        if let Err(error) = file::remove_tree(&dir) {
            tracing::warn!(path = %dir.display(), %error, "a dead build step's directory stays behind");
        }
    }
    for id in host.store.rw_list()? {
        if !id.starts_with(writable::PREFIX) {
            continue;
        }
        found += 1;
        if let Err(error) = host.store.rw_remove(&id) {
            tracing::warn!(id, %error, "a dead build step's writable layer stays behind");
        }
    }
    // Downloads and parts of contexts that were being written.
    let trees = cache::trees(&host.cache);
    for name in file::list(&trees)?.iter().filter(|name| name.ends_with(".part")) {
        found += 1;
        if let Err(error) = file::remove_tree(&trees.join(name)) {
            tracing::warn!(name, %error, "a dead build's half-made tree stays behind");
        }
    }
    Ok(found)
}

/// Ends a shim with its container, if it still listens.
fn end(shim: &Path) {
    let Ok(mut connection) = Connection::connect(shim) else { return };
    if let Ok(mut watch) = Connection::connect(shim).and_then(Connection::watch) {
        kill(shim);
        while let Ok(Some(event)) = watch.next() {
            if matches!(event, Event::Exited(_)) {
                break;
            }
        }
    }
    if let Err(error) = connection.delete() {
        tracing::warn!(%error, "a dead build step's container stays behind");
    }
}
