//! What COPY reads: sources selected in a tree (the context, or a stage's root), and walks over them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use sys::root::{Access, Dir, Follow, Kind, Metadata, Root};

use crate::error::{Error, Result};
use crate::glob;
use crate::ignore::{Ignore, clean};
use crate::instructions::read::nearest;

/// Directories inside each other that a COPY goes down: each is an open descriptor.
const MAX_DEPTH: usize = 256;
/// As many links as the kernel follows in one look-up (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// One source of a COPY after patterns were matched and a link at its end was followed.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its path as selected, relative to the tree: what patterns match and what gives a file its name.
    pub(crate) path: String,
    /// The directories it keeps below the destination: `--parents`.
    pub(crate) parents: Option<PathBuf>,
    /// A file's or node's place; `None` for a directory.
    place: Option<(Dir, OsString)>,
    /// A directory.
    dir: Option<Dir>,
}

impl Source {
    /// Whether its content is copied rather than itself.
    pub(crate) fn is_dir(&self) -> bool {
        self.dir.is_some()
    }

    /// Opens it, if it is a regular file.
    pub(crate) fn open(&self) -> Result<Option<File>> {
        let Some((dir, name)) = &self.place else { return Ok(None) };
        if dir.metadata(name)?.kind != Kind::File {
            return Ok(None);
        }
        Ok(Some(dir.open_file(name, Access::Read, 0)?))
    }

    /// The last component of its path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }
}

/// A file, link, directory or node on a walk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found<'a> {
    /// Below the walk's source; empty for a source that is a file.
    pub(crate) path: &'a Path,
    /// The directory it is in.
    pub(crate) dir: &'a Dir,
    /// Its name there.
    pub(crate) name: &'a OsStr,
    /// What stat(2) says.
    pub(crate) metadata: Metadata,
}

impl Found<'_> {
    /// Opens a file for reading.
    pub(crate) fn open(&self) -> Result<File> {
        Ok(self.dir.open_file(self.name, Access::Read, 0)?)
    }
}

/// What happens on a walk.
pub(crate) trait Visitor {
    /// The regular files of a directory that is about to be walked: there may be very many, and together they can be had
    /// faster. They come as leaves as well.
    fn files(&mut self, found: &[Found<'_>]) -> Result<()>;
    /// A directory begins.
    fn enter(&mut self, found: &Found<'_>) -> Result<()>;
    /// That directory ends.
    fn leave(&mut self, found: &Found<'_>) -> Result<()>;
    /// Anything else.
    fn leaf(&mut self, found: &Found<'_>) -> Result<()>;
}

/// Which paths a COPY does not see.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// The context's .dockerignore: matched against the path in the tree.
    pub(crate) ignore: Ignore,
    /// `--exclude`: matched against the path in the tree and below the source.
    pub(crate) exclude: Ignore,
}

impl Filter {
    fn hides(&self, path: &Path, below: &Path) -> bool {
        let text = path.to_string_lossy();
        self.ignore.ignores(&text)
            || self.exclude.ignores(&text)
            || self.exclude.ignores(&below.to_string_lossy())
    }

    /// Whether a directory that is hidden may hold something that is not.
    fn may_show_below(&self, path: &Path, below: &Path) -> bool {
        let text = path.to_string_lossy();
        self.ignore.may_keep_below(&text)
            || self.exclude.may_keep_below(&text)
            || self.exclude.may_keep_below(&below.to_string_lossy())
    }

    /// Whether a source itself, with all that is below it, is hidden. The tree as a whole never is.
    fn hides_source(&self, source: &Source) -> Result<bool> {
        let (path, below) = (Path::new(&source.path), Path::new(""));
        if source.path.is_empty() || !self.hides(path, below) {
            return Ok(false);
        }
        match &source.dir {
            Some(dir) => Ok(!shows_any(dir, path, below, self)?),
            None => Ok(true),
        }
    }
}

/// Finds the sources of a `verb` (COPY, ADD). A pattern may stand for none; a plain path must be there. With `parents`
/// they keep the directories they are in, from a `./` within their path on.
pub(crate) fn select(
    root: &Root,
    sources: &[String],
    filter: &Filter,
    verb: &str,
    parents: bool,
) -> Result<Vec<Source>> {
    let mut found = Vec::new();
    for text in sources {
        let path = clean(text);
        let dropped = text.find("/./").map_or_else(String::new, |at| clean(&text[..at]));
        let kept = |source: Source| match parents {
            false => source,
            true => Source { parents: Some(keep(&source, &dropped)), ..source },
        };
        if glob::is_pattern(&path) {
            let mut paths = Vec::new();
            matching(root, "", &path, &mut paths)?;
            // Two ways through `**` may lead to one file.
            paths.sort();
            paths.dedup();
            for path in paths {
                let (text, top) = (Path::new(&path), Path::new(""));
                if filter.hides(text, top) && !filter.may_show_below(text, top) {
                    continue;
                }
                let source = open(root, path)?;
                if !filter.hides_source(&source)? {
                    found.push(kept(source));
                }
            }
            continue;
        }
        match open(root, path) {
            Ok(source) if !filter.hides_source(&source)? => found.push(kept(source)),
            Err(Error::System(e)) if !matches!(e.errno(), libc_errno::ENOENT | libc_errno::ENOTDIR) => {
                return Err(e.into());
            }
            Ok(_) => return Err(missing(verb, text, " (it is excluded by .dockerignore)")),
            Err(Error::System(_)) => return Err(missing(verb, text, &there_is(root, text))),
            Err(other) => return Err(other),
        }
    }
    Ok(found)
}

fn missing(verb: &str, text: &str, hint: &str) -> Error {
    Error::Step {
        step: format!("{verb} failed"),
        detail: format!(
            "file not found in build context or excluded by .dockerignore: stat {}: file does not exist{hint}",
            text.trim_start_matches('/')
        ),
    }
}

/// What is there in place of a path that is not: the nearest name, else some of what there is.
fn there_is(root: &Root, text: &str) -> String {
    if text.split('/').next() == Some("..") {
        return " (paths begin at the build context, and nothing above it can be copied: build from a directory further up, or name another with --build-context)".into();
    }
    let path = clean(text);
    let (above, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let Ok(entries) = root.dir(above).and_then(|dir| dir.entries()) else { return String::new() };
    let mut names: Vec<String> =
        entries.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
    names.sort();
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    if known.contains(&name) {
        let target = root.parent(&path).and_then(|(dir, name)| dir.read_link(&name));
        return target.map_or_else(
            |_| String::new(),
            |target| {
                format!(
                    " (it is a link to {}, which is not in the build context: copy the file itself there)",
                    Path::new(&target).display()
                )
            },
        );
    }
    if let Some(near) = nearest(name, &known) {
        return format!(" (did you mean {near}?)");
    }
    match names.len() {
        0 => " (the directory is empty)".into(),
        1..=8 => format!(" (there is {})", names.join(", ")),
        more => format!(" (there is {} and {} more)", names[..8].join(", "), more - 8),
    }
}

/// The directories that a source keeps: those of its path without what is in front of the `./`; a directory keeps itself.
fn keep(source: &Source, dropped: &str) -> PathBuf {
    let path = Path::new(&source.path);
    let path = path.strip_prefix(dropped).unwrap_or(path);
    if source.is_dir() { path.to_owned() } else { path.parent().unwrap_or(Path::new("")).to_owned() }
}

mod libc_errno {
    //! errno(3), the two that a path which is not there can give.
    pub(super) const ENOENT: i32 = 2;
    pub(super) const ENOTDIR: i32 = 20;
}

/// Go's `filepath.Glob`, one component at a time.
fn matching(root: &Root, base: &str, pattern: &str, found: &mut Vec<String>) -> Result<()> {
    let (first, rest) = match pattern.split_once('/') {
        Some((first, rest)) => (first, Some(rest)),
        None => (pattern, None),
    };
    let dir = match root.dir(base) {
        Ok(dir) => dir,
        Err(e) if matches!(e.errno(), libc_errno::ENOENT | libc_errno::ENOTDIR) => return Ok(()),
        Err(e) => return Err(e.into()),
    };
    let mut names: Vec<String> =
        dir.entries()?.into_iter().filter_map(|entry| entry.name.into_string().ok()).collect();
    names.sort();
    if first == "**" {
        // No directory at all, or any number of them.
        match rest {
            Some(rest) => matching(root, base, rest, found)?,
            None => found.extend(names.iter().map(|name| join(base, name))),
        }
        for name in names.iter().filter(|name| dir.metadata(name).is_ok_and(|m| m.kind == Kind::Directory)) {
            matching(root, &join(base, name), pattern, found)?;
        }
        return Ok(());
    }
    for name in names {
        let matches = glob::matches(first, &name)
            .map_err(|_| Error::Request(format!("syntax error in pattern {pattern:?}")))?;
        if !matches {
            continue;
        }
        let path = join(base, &name);
        match rest {
            Some(rest) => matching(root, &path, rest, found)?,
            None => found.push(path),
        }
    }
    Ok(())
}

fn join(base: &str, name: &str) -> String {
    if base.is_empty() { name.to_owned() } else { format!("{base}/{name}") }
}

/// Opens a source; a link at its end is followed, inside the tree, one look-up for each.
fn open(root: &Root, path: String) -> Result<Source> {
    let mut at = PathBuf::from(&path);
    if path.is_empty() {
        return Ok(Source { path, parents: None, place: None, dir: Some(root.dir("")?) });
    }
    for _ in 0..MAX_LINKS {
        // What ends in `..` (a link's target may) is a directory.
        let Ok((dir, name)) = root.parent(&at) else {
            return Ok(Source { path, parents: None, place: None, dir: Some(root.dir(&at)?) });
        };
        match dir.metadata(&name)?.kind {
            Kind::Symlink => {
                let target = PathBuf::from(dir.read_link(&name)?);
                at = at.parent().unwrap_or(Path::new("")).join(target);
            }
            Kind::Directory => {
                let dir = dir.dir(&name)?;
                return Ok(Source { path, parents: None, place: None, dir: Some(dir) });
            }
            Kind::File | Kind::Fifo | Kind::Socket | Kind::CharDevice | Kind::BlockDevice => {
                return Ok(Source { path, parents: None, place: Some((dir, name)), dir: None });
            }
        }
    }
    Err(Error::Step { step: "COPY failed".into(), detail: format!("too many links: {path}") })
}

/// Walks a source, names sorted by their bytes.
pub(crate) fn walk(source: &Source, filter: &Filter, visitor: &mut dyn Visitor) -> Result<()> {
    if let Some((dir, name)) = &source.place {
        let metadata = dir.metadata(name)?;
        return visitor.leaf(&Found { path: Path::new(""), dir, name, metadata });
    }
    match &source.dir {
        Some(dir) => walk_dir(dir, Path::new(&source.path), Path::new(""), 0, filter, visitor),
        None => Ok(()),
    }
}

fn walk_dir(
    dir: &Dir,
    top: &Path,
    below: &Path,
    depth: usize,
    filter: &Filter,
    visitor: &mut dyn Visitor,
) -> Result<()> {
    if depth > MAX_DEPTH {
        let detail =
            format!("more than {MAX_DEPTH} directories inside each other: {}", top.join(below).display());
        return Err(Error::Step { step: "COPY failed".into(), detail });
    }
    let mut entries = Vec::new();
    for name in sorted(dir)? {
        let path = below.join(&name);
        let hidden = filter.hides(&top.join(&path), &path);
        let metadata = dir.metadata(&name)?;
        entries.push((name, path, metadata, hidden));
    }
    let found = entries
        .iter()
        .map(|(name, path, metadata, hidden)| (Found { path, dir, name, metadata: *metadata }, *hidden));
    let files: Vec<Found<'_>> = found
        .clone()
        .filter(|(file, hidden)| !hidden && file.metadata.kind == Kind::File)
        .map(|(file, _)| file)
        .collect();
    visitor.files(&files)?;
    drop(files);
    for (found, hidden) in found {
        match found.metadata.kind {
            Kind::Directory => {
                let inner = dir.dir(found.name)?;
                if hidden && !shows_any(&inner, top, found.path, filter)? {
                    continue;
                }
                visitor.enter(&found)?;
                walk_dir(&inner, top, found.path, depth + 1, filter, visitor)?;
                visitor.leave(&found)?;
            }
            // A socket is an end of something that is not there any more.
            Kind::Socket => {}
            Kind::File | Kind::Symlink | Kind::Fifo | Kind::CharDevice | Kind::BlockDevice => {
                if !hidden {
                    visitor.leaf(&found)?;
                }
            }
        }
    }
    Ok(())
}

/// Whether a hidden directory holds something that a `!` pattern shows.
fn shows_any(dir: &Dir, top: &Path, below: &Path, filter: &Filter) -> Result<bool> {
    if !filter.may_show_below(&top.join(below), below) {
        return Ok(false);
    }
    for name in sorted(dir)? {
        let path = below.join(&name);
        if !filter.hides(&top.join(&path), &path) {
            return Ok(true);
        }
        if dir.metadata(&name)?.kind == Kind::Directory && shows_any(&dir.dir(&name)?, top, &path, filter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn sorted(dir: &Dir) -> Result<Vec<OsString>> {
    let mut names: Vec<OsString> = dir.entries()?.into_iter().map(|entry| entry.name).collect();
    names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    Ok(names)
}

/// Whether something is there, links followed.
pub(crate) fn kind_at(root: &Root, path: &Path) -> Result<Option<Kind>> {
    match root.metadata(path, Follow::Yes) {
        Ok(metadata) => Ok(Some(metadata.kind)),
        Err(e) if matches!(e.errno(), libc_errno::ENOENT | libc_errno::ENOTDIR) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
