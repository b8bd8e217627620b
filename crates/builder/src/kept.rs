//! Contexts of clients that are elsewhere, kept from one build to the next: a client tells what it has (a listing), is
//! told what of it is new here, and sends only that.
//!
//! ```text
//! <cache>/contexts/<digest of the client's key>/tree/          the files, as they were sent last
//!                                               listing.json  what is in there; absent while that changes
//!                                               next.json      what a client is about to send
//! ```
//!
//! What is the same is decided by what stat(2) said at the client: size, mode, times (the change time, too, which no
//! program can set back), inode. A build uses a kept context alone; who comes meanwhile sends all.

use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use spec::Digest;
use spec::api::{ContextEntry, ContextOffer, NO_CONTEXT};
use store::archive::{Existing, Owners, Unpack, Whiteouts, unpack};
use sys::file::{self, Durability};
use sys::root::{Follow, Kind, Root};

use crate::context::Files;
use crate::error::{Error, Result};
use crate::instructions::run::Sharing;
use crate::key::Hasher;
use crate::run::cancel::Cancel;
use crate::work::InUse;
use crate::{Host, cache};

/// More contexts than this, and the one that was used longest ago goes.
const MOST: usize = 8;
/// As archives may have entries.
const MAX_ENTRIES: usize = 4_000_000;

/// What is in a kept context, or will be.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Listing {
    /// Names it, between a client's two requests.
    token: String,
    entries: Vec<ContextEntry>,
}

/// A kept context in use by a build. Dropped: others may use it.
#[derive(Debug)]
pub struct Kept {
    root: Arc<Root>,
    _used: InUse,
}

impl Kept {
    /// Its files.
    pub fn files(&self) -> Files {
        Files::Shared(self.root.clone())
    }
}

/// What of a client's files is new here. The client sends it with the token that comes with the answer.
///
/// # Errors
/// Paths that lead out, too many of them, or a file error; [`NO_CONTEXT`] when a build uses the context just now.
pub fn offer(host: &Host, key: &str, entries: Vec<ContextEntry>) -> Result<ContextOffer> {
    check(&entries)?;
    let place = place(host, key);
    if host.work.is_used(&place) {
        return Err(Error::Request(NO_CONTEXT.into()));
    }
    file::create_dir_all(&place, 0o700)?;
    let known = read(&place.join("listing.json"))?.unwrap_or_default();
    let wanted = different(&known.entries, &entries);
    let token = spec::digest::hex(&sys::random::bytes::<16>());
    let next = Listing { token: token.clone(), entries };
    write(&place.join("next.json"), &next)?;
    forget_oldest(host, &place)?;
    Ok(ContextOffer { token, wanted })
}

/// Takes what was wanted, as a tar, and gives the whole context.
///
/// # Errors
/// The tar is none, or lacks what was wanted; [`NO_CONTEXT`] when something else came in between.
pub fn accept(host: &Host, key: &str, token: &str, tar: impl Read) -> Result<Kept> {
    let place = place(host, key);
    let gone = || Error::Request(NO_CONTEXT.into());
    let used = host.work.mount(&place, Sharing::Private, &Cancel::default())?;
    if used.path != place {
        return Err(gone());
    }
    let next = read(&place.join("next.json"))?.filter(|next| next.token == token).ok_or_else(gone)?;
    let (listing, tree) = (place.join("listing.json"), place.join("tree"));
    let known = read(&listing)?;
    // From here to the end nobody knows what is there.
    if known.is_some() {
        file::remove(&listing)?;
    } else {
        file::remove_tree(&tree)?;
    }
    let known = known.unwrap_or_default();
    file::create_dir_all(&tree, 0o755)?;
    let root = Root::open(&tree)?;
    let names: std::collections::HashSet<&str> = next.entries.iter().map(|one| one.path.as_str()).collect();
    // What is below a directory goes before it.
    for entry in known.entries.iter().rev().filter(|entry| !names.contains(entry.path.as_str())) {
        let (dir, name) = root.parent(&entry.path)?;
        dir.remove_tree(&name)?;
    }
    let how = Unpack {
        base: Path::new(""),
        whiteouts: Whiteouts::Literal,
        owner: Some((0, 0)),
        owners: Owners::default(),
        existing: Existing::GivesWayBelow,
    };
    unpack(tar, &root, &how)?;
    for number in different(&known.entries, &next.entries) {
        let entry = &next.entries[number];
        let there = root.metadata(&entry.path, Follow::No);
        if !there.is_ok_and(|there| there.kind == kind(entry.mode)) {
            return Err(Error::Request(format!(
                "build context: {:?} was to be sent and did not come",
                entry.path
            )));
        }
    }
    file::rename(&place.join("next.json"), &listing)?;
    Ok(Kept { root: Arc::new(root), _used: used })
}

/// Removes the contexts that no build uses; returns how many.
pub(crate) fn forget(host: &Host) -> Result<usize> {
    let mut gone = 0;
    for name in file::list(&cache::contexts(&host.cache))? {
        let path = cache::contexts(&host.cache).join(name);
        if !host.work.is_used(&path) {
            file::remove_tree(&path)?;
            gone += 1;
        }
    }
    Ok(gone)
}

/// The kind in a mode, as stat(2) has it.
fn kind(mode: u32) -> Kind {
    match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Symlink,
        0o010_000 => Kind::Fifo,
        0o020_000 => Kind::CharDevice,
        0o060_000 => Kind::BlockDevice,
        _ => Kind::Socket,
    }
}

/// Which of the new entries are not as they are here.
fn different(known: &[ContextEntry], new: &[ContextEntry]) -> Vec<usize> {
    let known: std::collections::HashMap<&str, &ContextEntry> =
        known.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    let differs = |entry: &ContextEntry| known.get(entry.path.as_str()).is_none_or(|known| *known != entry);
    new.iter().enumerate().filter(|(_, entry)| differs(entry)).map(|(number, _)| number).collect()
}

/// Whether all paths are relative and plain, each comes once, and each directory before what is in it.
fn check(entries: &[ContextEntry]) -> Result<()> {
    let wrong = |detail: String| Err(Error::Request(format!("build context: {detail}")));
    if entries.len() > MAX_ENTRIES {
        return wrong(format!("more than {MAX_ENTRIES} files"));
    }
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        let path = Path::new(&entry.path);
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        // `components` overlooks doubled slashes and dots; joined again it would be another text.
        let same = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
        if entry.path.is_empty() || !plain || !same || entry.path.contains('\0') {
            return wrong(format!("{:?} is no path of a file in it", entry.path));
        }
        if !seen.insert(entry.path.as_str()) {
            return wrong(format!("{:?} comes twice", entry.path));
        }
    }
    Ok(())
}

fn place(host: &Host, key: &str) -> PathBuf {
    let mut hasher = Hasher::default();
    hasher.field(b"context").field(key.as_bytes());
    let digest: Digest = hasher.finish();
    cache::contexts(&host.cache).join(digest.hex())
}

/// One that cannot be read is as good as none.
fn read(path: &Path) -> Result<Option<Listing>> {
    Ok(file::read_if_exists(path)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
}

fn write(path: &Path, listing: &Listing) -> Result<()> {
    let bytes = serde_json::to_vec(listing).expect("a listing is plain data");
    Ok(file::write_atomic(path, &bytes, 0o600, Durability::Process)?)
}

/// Keeps no more than [`MOST`]; `own` is about to be used, and is none of those that go.
fn forget_oldest(host: &Host, own: &Path) -> Result<()> {
    let all = cache::contexts(&host.cache);
    let mut names: Vec<(SystemTime, PathBuf)> = Vec::new();
    for name in file::list(&all)? {
        let path = all.join(name);
        // Each use replaces a file in it.
        let used = path.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        names.push((used, path));
    }
    names.sort();
    let surplus = names.len().saturating_sub(MOST);
    for (_, path) in names.iter().filter(|(_, path)| path != own).take(surplus) {
        if !host.work.is_used(path) {
            file::remove_tree(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, stamp: &str) -> ContextEntry {
        ContextEntry { path: path.into(), mode: 0o100_644, stamp: stamp.into(), ..ContextEntry::default() }
    }

    #[test]
    fn what_differs_is_wanted() {
        let known = [entry("a", "1"), entry("b", "1"), entry("c", "1")];
        let new = [entry("a", "1"), entry("b", "2"), entry("d", "1")];
        assert_eq!(different(&known, &new), [1, 2]);
        assert_eq!(different(&[], &new), [0, 1, 2]);
        let mut grown = entry("a", "1");
        grown.size = 1;
        assert_eq!(different(&known, &[grown]), [0]);
    }

    #[test]
    fn paths_lead_nowhere_else() {
        assert!(check(&[entry("a", ""), entry("a/b", ""), entry("..a", "")]).is_ok());
        for bad in ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a/.", "a\0"] {
            assert!(check(&[entry(bad, "")]).is_err(), "{bad:?}");
        }
        assert!(check(&[entry("a", ""), entry("a", "")]).is_err());
    }
}
