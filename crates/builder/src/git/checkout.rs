//! A commit's files, put into a directory. Nothing of what a tree says is trusted: names, links, sizes.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use sys::root::{Access, Dir, OpenFile as _, Time};

use super::pack::{Kind, Pack, Wrong};
use super::{MAX_MODULES_BYTES, Oid, failed};
use crate::Error;

/// As archives may have entries.
const MAX_ENTRIES: u64 = 4_000_000;
/// Directories in each other.
const MAX_DEPTH: usize = 256;
/// A link says no more (PATH_MAX).
const MAX_LINK: u64 = 4096;

/// What was put there.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// In the order of their paths; only if asked for.
    pub(super) entries: Vec<Entry>,
    /// Repositories that belong inside.
    pub(super) links: Vec<Link>,
}

/// A file that was put there.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) path: Vec<u8>,
    pub(super) mode: u32,
    pub(super) id: Oid,
    pub(super) size: u64,
}

/// A repository that belongs at a path.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: String,
    pub(super) commit: Oid,
    pub(super) url: String,
}

/// Why a commit cannot be put there.
#[derive(Debug)]
pub(super) enum Failure {
    Wrong(Wrong),
    Content(String),
    System(sys::Error),
}

impl Failure {
    /// As a failure of a repository's.
    pub(super) fn of(self, url: &str) -> Error {
        match self {
            Self::Wrong(wrong) => failed(url, wrong.to_string()),
            Self::Content(text) => failed(url, text),
            Self::System(error) => Error::System(error),
        }
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Self {
        Self::Wrong(wrong)
    }
}

impl From<sys::Error> for Failure {
    fn from(error: sys::Error) -> Self {
        Self::System(error)
    }
}

/// One line of a tree.
struct Line<'t> {
    mode: u32,
    name: &'t [u8],
    id: Oid,
}

const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const REPOSITORY: u32 = 0o160_000;
const FORMAT: u32 = 0o170_000;

struct Work<'p> {
    pack: &'p Pack,
    /// Of the commit: files have no time of their own, and what is the same shall be the same.
    time: Time,
    keep: bool,
    files: Files,
    repositories: Vec<(String, Oid)>,
    entries: u64,
    bytes: u64,
    most: u64,
}

/// Puts a commit's files, or those of a directory in it, into an empty directory. `keep`: what was put is told.
pub(super) fn commit(pack: &Pack, id: Oid, subdir: &str, target: &Dir, keep: bool) -> Result<Files, Failure> {
    let (kind, bytes) = pack.object(id)?;
    if kind != Kind::Commit {
        return Err(Failure::Content(format!("{id} is no commit")));
    }
    let text = String::from_utf8_lossy(&bytes);
    let header = |name: &str| {
        let lines = text.lines().take_while(|line| !line.is_empty());
        lines.filter_map(|line| line.strip_prefix(name)).next()
    };
    let damaged = || Failure::Content(format!("commit {id} is not as a commit is"));
    let top: Oid = header("tree ").and_then(|id| id.parse().ok()).ok_or_else(damaged)?;
    // `Name <address> seconds zone`
    let seconds = header("committer ").and_then(|line| line.rsplit(' ').nth(1)?.parse().ok());
    let mut work = Work {
        pack,
        time: Time { seconds: seconds.ok_or_else(damaged)?, nanos: 0 },
        keep,
        files: Files::default(),
        repositories: Vec::new(),
        entries: 0,
        bytes: 0,
        most: pack.most(),
    };
    let mut tree = top;
    for name in subdir.split('/').filter(|name| !name.is_empty()) {
        let bytes = work.tree_bytes(tree)?;
        let missing = || Failure::Content(format!("the repository has no directory {subdir:?}"));
        let line = lines(&bytes)?.into_iter().find(|line| line.name == name.as_bytes());
        tree = line.filter(|line| line.mode & FORMAT == DIRECTORY).ok_or_else(missing)?.id;
    }
    work.tree(tree, target, "", 0)?;
    if !work.repositories.is_empty() {
        work.find_repositories(top, subdir)?;
    }
    Ok(work.files)
}

impl Work<'_> {
    fn tree_bytes(&self, id: Oid) -> Result<Vec<u8>, Failure> {
        match self.pack.object(id)? {
            (Kind::Tree, bytes) => Ok(bytes),
            _ => Err(Failure::Content(format!("{id} is no directory"))),
        }
    }

    fn tree(&mut self, id: Oid, into: &Dir, path: &str, depth: usize) -> Result<(), Failure> {
        if depth > MAX_DEPTH {
            return Err(Failure::Content(format!("more than {MAX_DEPTH} directories in each other")));
        }
        let bytes = self.tree_bytes(id)?;
        for line in lines(&bytes)? {
            self.entries += 1;
            if self.entries > MAX_ENTRIES {
                return Err(Failure::Content(format!("more than {MAX_ENTRIES} files")));
            }
            let name = OsStr::from_bytes(line.name);
            let shown = name.to_string_lossy();
            let path = if path.is_empty() { shown.into_owned() } else { format!("{path}/{shown}") };
            if matches!(line.name, b"" | b"." | b"..")
                || line.name.eq_ignore_ascii_case(b".git")
                || line.name.contains(&b'/')
            {
                return Err(Failure::Content(format!("a file may not be called {path:?}")));
            }
            let size = match line.mode & FORMAT {
                DIRECTORY => {
                    let dir = into.create_dir(name, 0o755)?;
                    self.tree(line.id, &dir, &path, depth + 1)?;
                    into.set_modified(name, self.time)?;
                    continue;
                }
                REPOSITORY => {
                    into.create_dir(name, 0o755)?;
                    into.set_modified(name, self.time)?;
                    self.repositories.push((path.clone(), line.id));
                    0
                }
                SYMLINK => {
                    let mut target = Vec::new();
                    let size = self.pack.copy(line.id, MAX_LINK, &mut target)?;
                    into.symlink(OsStr::from_bytes(&target), name)?;
                    into.set_modified(name, self.time)?;
                    size
                }
                0o100_000 => {
                    let mode = if line.mode & 0o111 == 0 { 0o644 } else { 0o755 };
                    let mut file = into.open_file(name, Access::CreateNew, mode)?;
                    let size = self.pack.copy(line.id, self.most - self.bytes, &mut file)?;
                    self.bytes += size;
                    file.set_mode(mode)?;
                    file.set_own_modified(self.time)?;
                    size
                }
                mode => return Err(Failure::Content(format!("{path:?} has the unknown mode {mode:o}"))),
            };
            if self.keep {
                let entry = Entry { path: path.into_bytes(), mode: line.mode, id: line.id, size };
                self.files.entries.push(entry);
            }
        }
        Ok(())
    }

    /// Where the repositories are that belong inside, by the .gitmodules at the top.
    fn find_repositories(&mut self, top: Oid, subdir: &str) -> Result<(), Failure> {
        let bytes = self.tree_bytes(top)?;
        let file = lines(&bytes)?.into_iter().find(|line| line.name == b".gitmodules");
        let mut text = Vec::new();
        if let Some(file) = file.filter(|file| file.mode & FORMAT == 0o100_000) {
            self.pack.copy(file.id, MAX_MODULES_BYTES as u64, &mut text)?;
        }
        let modules = modules(&String::from_utf8_lossy(&text));
        for (path, commit) in std::mem::take(&mut self.repositories) {
            let full = if subdir.is_empty() { path.clone() } else { format!("{subdir}/{path}") };
            // As git: one that nobody says the address of stays an empty directory.
            if let Some((_, url)) = modules.iter().find(|(path, _)| *path == full) {
                self.files.links.push(Link { path, commit, url: url.clone() });
            }
        }
        Ok(())
    }
}

/// A tree's lines: `mode name\0id`.
fn lines(mut bytes: &[u8]) -> Result<Vec<Line<'_>>, Failure> {
    let damaged = || Failure::Wrong(Wrong::Damaged("a directory"));
    let mut lines: Vec<Line<'_>> = Vec::new();
    while !bytes.is_empty() {
        let end = bytes.iter().position(|byte| *byte == 0).ok_or_else(damaged)?;
        let (head, rest) = bytes.split_at(end);
        let space = head.iter().position(|byte| *byte == b' ').ok_or_else(damaged)?;
        let mode = std::str::from_utf8(&head[..space]).ok().and_then(|m| u32::from_str_radix(m, 8).ok());
        let (id, rest) = rest[1..].split_first_chunk().ok_or_else(damaged)?;
        lines.push(Line { mode: mode.ok_or_else(damaged)?, name: &head[space + 1..], id: Oid(*id) });
        bytes = rest;
    }
    Ok(lines)
}

/// Paths and addresses of a .gitmodules.
fn modules(text: &str) -> Vec<(String, String)> {
    let mut modules = Vec::new();
    let (mut path, mut url) = (None, None);
    for line in text.lines().map(str::trim).chain(["["]) {
        if line.starts_with('[') {
            modules.extend(path.take().zip(url.take()));
            (path, url) = (None, None);
        } else if let Some((name, value)) = line.split_once('=') {
            let value = value.trim().trim_matches('"').to_owned();
            match name.trim() {
                "path" => path = Some(value),
                "url" => url = Some(value),
                _ => {}
            }
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_read() {
        let text = "[submodule \"a\"]\n\tpath = x/a\n\turl = ../a.git\n\tbranch = m\n[submodule \"b\"]\n\turl=\"https://h/b\"\n\tpath=b\n[submodule \"c\"]\n\tpath = c\n";
        let expected = [("x/a", "../a.git"), ("b", "https://h/b")].map(|(p, u)| (p.to_owned(), u.to_owned()));
        assert_eq!(modules(text), expected);
    }

    #[test]
    fn trees_are_read_or_refused() {
        let mut bytes = b"100644 a\0".to_vec();
        bytes.extend([7; 20]);
        let found = lines(&bytes).unwrap_or_default();
        assert_eq!((found[0].mode, found[0].name, found[0].id), (0o100_644, &b"a"[..], Oid([7; 20])));
        for cut in 1..bytes.len() {
            assert!(lines(&bytes[..cut]).is_err(), "{cut}");
        }
    }
}
