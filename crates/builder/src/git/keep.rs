//! `.git` of a checkout (`--keep-git-dir`): one commit without its history, as a shallow clone has it.

use std::io::{self, Write};

use sha1::{Digest as _, Sha1};
use spec::git::Address;
use sys::root::{Access, Root};

use super::checkout::{Entry, Files};
use super::pack::Pack;
use super::{Oid, Settled};
use crate::error::Result;

/// Writes it. No byte in it depends on when or where.
pub(super) fn write(
    root: &Root,
    pack: &Pack,
    address: &Address,
    settled: &Settled,
    files: &Files,
) -> Result<()> {
    let put = |path: &str, bytes: &[u8]| -> Result<()> {
        let path = format!(".git/{path}");
        let (dir, name) = root.create_parent(&path, 0o755)?;
        let mut file = dir.open_file(&name, Access::CreateNew, 0o644)?;
        file.write_all(bytes).map_err(|e| sys::Error::new("write", path, e))?;
        Ok(())
    };
    put("HEAD", format!("{}\n", settled.commit).as_bytes())?;
    let config = format!(
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n[remote \"origin\"]\n\turl = {}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
        address.url
    );
    put("config", config.as_bytes())?;
    put("shallow", format!("{}\n", settled.commit).as_bytes())?;
    root.create_dirs(".git/objects/info", 0o755)?;
    root.create_dirs(".git/refs/heads", 0o755)?;
    root.create_dirs(".git/refs/tags", 0o755)?;
    let name = settled.name.as_deref().unwrap_or_default();
    let place = match name.strip_prefix("refs/heads/") {
        Some(branch) => format!("refs/remotes/origin/{branch}"),
        None => name.to_owned(),
    };
    if place.starts_with("refs/") && is_plain(&place) {
        put(&place, format!("{}\n", settled.object).as_bytes())?;
    }

    let stem = format!("objects/pack/pack-{}", pack.trailer());
    put(&format!("{stem}.idx"), &pack_index(pack))?;
    let path = format!(".git/{stem}.pack");
    let mut file = root.open_file(&path, Access::CreateNew, 0o644)?;
    io::copy(&mut pack.bytes(), &mut file).map_err(|e| sys::Error::new("write", path, e))?;
    put("index", &index(files))
}

/// Whether a name is one that git itself would give: it becomes a path.
fn is_plain(name: &str) -> bool {
    name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock"))
        && !name.contains(|c: char| c.is_control() || " ~^:?*[\\".contains(c))
}

/// Where each object is in the pack (gitformat-pack, version 2).
fn pack_index(pack: &Pack) -> Vec<u8> {
    let objects = pack.sorted();
    let mut bytes = b"\xfftOc\0\0\0\x02".to_vec();
    let mut put = |number: u64| bytes.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    let mut before = 0;
    for first in 0..=u8::MAX {
        before += objects[before..].iter().take_while(|(id, ..)| id.0[0] <= first).count();
        put(before as u64);
    }
    objects.iter().for_each(|(id, ..)| bytes.extend(id.0));
    objects.iter().for_each(|(_, crc, _)| bytes.extend(crc.to_be_bytes()));
    let mut large: Vec<u64> = Vec::new();
    for (.., offset) in &objects {
        let word = match u32::try_from(*offset) {
            Ok(offset) if offset < 1 << 31 => offset,
            _ => {
                large.push(*offset);
                1 << 31 | u32::try_from(large.len() - 1).unwrap_or(0)
            }
        };
        bytes.extend(word.to_be_bytes());
    }
    large.iter().for_each(|offset| bytes.extend(offset.to_be_bytes()));
    bytes.extend(pack.trailer().0);
    sealed(bytes)
}

/// What is checked out (gitformat-index, version 2). Without times, so git looks at the files once and finds them right.
fn index(files: &Files) -> Vec<u8> {
    let mut entries: Vec<&Entry> = files.entries.iter().collect();
    entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut bytes = b"DIRC\0\0\0\x02".to_vec();
    bytes.extend(u32::try_from(entries.len()).unwrap_or(u32::MAX).to_be_bytes());
    for entry in entries {
        let start = bytes.len();
        bytes.extend([0; 24]);
        bytes.extend(entry.mode.to_be_bytes());
        bytes.extend([0; 8]);
        bytes.extend(u32::try_from(entry.size).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(entry.id.0);
        bytes.extend(u16::try_from(entry.path.len()).unwrap_or(0xfff).min(0xfff).to_be_bytes());
        bytes.extend(&entry.path);
        let padded = (bytes.len() - start + 1).next_multiple_of(8);
        bytes.resize(start + padded, 0);
    }
    sealed(bytes)
}

/// With the hash of everything before at its end.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let hash = Oid(Sha1::digest(&bytes).into());
    bytes.extend(hash.0);
    bytes
}
