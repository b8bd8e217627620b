//! What is at a path of a container.

use std::os::fd::AsFd;

use spec::api::PathStat;
use sys::root::{Follow, Kind, Metadata, Root};

use super::{Purpose, base, look_up};
use crate::blocking::lasting;
use crate::{Engine, Error, time};

impl Engine {
    /// `HEAD /containers/{id}/archive`: of a link its own.
    pub async fn archive_stat(&self, id: &str, path: &str) -> Result<PathStat, Error> {
        let opened = self.open_tree(id, Purpose::Reading).await?;
        let path = super::absolute(path);
        lasting(move || {
            stat(opened.root(), &path).map(|(stat, _)| stat).map_err(|e| look_up(&path, &opened.named, e))
        })
        .await
    }
}

/// What is at `path`, in the API's words and the kernel's.
pub(super) fn stat(root: &Root, path: &str) -> Result<(PathStat, Metadata), sys::Error> {
    let found = root.find(path, Follow::No)?;
    let metadata = Metadata::of(found.as_fd()).map_err(|e| sys::Error::new("stat", path, e))?;
    let link_target = if metadata.kind == Kind::Symlink {
        // A link without an end leads nowhere, but is a link.
        root.canonical(path).map(|target| target.display().to_string()).unwrap_or_default()
    } else {
        String::new()
    };
    let modified = metadata.modified;
    let nanos = u64::try_from(modified.seconds).unwrap_or(0) * 1_000_000_000 + u64::from(modified.nanos);
    let stat = PathStat {
        name: base(path).to_owned(),
        size: i64::try_from(metadata.size).unwrap_or(i64::MAX),
        mode: go_mode(&metadata),
        mtime: time::rfc3339(nanos),
        link_target,
    };
    Ok((stat, metadata))
}

/// Go's `os.FileMode` (its package `io/fs`): the permission bits below, its own bits for the rest above.
fn go_mode(metadata: &Metadata) -> u32 {
    let kind = match metadata.kind {
        Kind::File => 0,
        Kind::Directory => 1 << 31,
        Kind::Symlink => 1 << 27,
        Kind::BlockDevice => 1 << 26,
        Kind::CharDevice => 1 << 26 | 1 << 21,
        Kind::Fifo => 1 << 25,
        Kind::Socket => 1 << 24,
    };
    let special: u32 = [(0o4000, 23), (0o2000, 22), (0o1000, 20)]
        .iter()
        .filter(|(bit, _)| metadata.mode & bit != 0)
        .map(|(_, go)| 1 << go)
        .sum();
    kind | special | metadata.mode & 0o777
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        drop(root.top().create_dir("sticky", 0o1777).unwrap());
        root.top().make_node("fifo", Kind::Fifo, 0o600, 0, 0).unwrap();
        root.top().make_node("null", Kind::CharDevice, 0o600, 1, 3).unwrap();
        root.top().symlink("/sticky/../nowhere", "link").unwrap();
        let mode = |path: &str| stat(&root, path).unwrap().0.mode;
        assert_eq!(mode("/sticky"), 0x8010_01ff);
        assert_eq!(mode("/fifo"), 0x0200_0180);
        assert_eq!(mode("/null"), 0x0420_0180);
        let link = stat(&root, "/link").unwrap().0;
        assert_eq!((link.mode, link.link_target.as_str()), (0x0800_01ff, "/nowhere"));
        assert_eq!(stat(&root, "/sticky/.").unwrap().0.name, ".");
    }
}
