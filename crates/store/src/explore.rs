//! What each layer of an image adds, changes and removes, and what of it later layers make useless.
//!
//! It is read from the layers' archives, so that it is the same for images that are not unpacked. A hard link counts no
//! bytes, and content that only a link keeps is counted as lost with its first name.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::ops::Bound::{Included, Unbounded};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use spec::Digest;
use spec::oci::image::Descriptor;

use crate::archive::unpack::clean;
use crate::archive::{AUFS_PREFIX, EntryKind, OPAQUE_MARKER, Reader, WHITEOUT_PREFIX};
use crate::changes::{Change, ChangeKind};
use crate::compression::inflate;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::{Store, unpack};

const BUFFER: usize = 128 << 10;

/// Files, and bytes of their content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Anything but directories.
    pub files: u64,
    /// Content of files.
    pub bytes: u64,
}

impl Tally {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// One layer, explored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explored {
    /// Its blob.
    pub blob: Descriptor,
    /// Its inflated digest.
    pub diff_id: Digest,
    /// What was not there below it.
    pub added: Tally,
    /// What replaces something below it.
    pub changed: Tally,
    /// What of the layers below is not to be seen any more.
    pub removed: Tally,
    /// What of this layer a later one replaces or removes.
    pub wasted: Tally,
    /// Path by path, with the bytes of what was added, changed or removed.
    pub changes: Vec<(Change, u64)>,
}

/// A path whose content the image has more than once, or has and does not show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waste {
    /// Below the root.
    pub path: PathBuf,
    /// In how many layers its content is lost.
    pub times: u64,
    /// How much is lost.
    pub bytes: u64,
}

/// What a layer's archive says of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Directory(PathBuf),
    /// With the bytes of its content.
    Other(PathBuf, u64),
    /// Nothing of the layers below is seen here.
    Whiteout(PathBuf),
    /// Nothing of the layers below is seen in this directory.
    Opaque(PathBuf),
}

impl Store {
    /// Explores the layers of an image, lowest first, and says what is wasted, the most first.
    ///
    /// # Errors
    /// [`Error::NoBlob`] when a layer is not here, or one that cannot be read.
    pub fn explore(&self, image: &Image) -> Result<(Vec<Explored>, Vec<Waste>)> {
        let layers: Vec<(&Descriptor, &Digest)> =
            image.manifest.layers.iter().zip(&image.config.rootfs.diff_ids).collect();
        let items = unpack::on_all_processors(&layers, |(blob, _)| {
            self.items(blob).map_err(|source| Error::Layer { blob: blob.digest, source: Box::new(source) })
        })?;
        let (mut explored, waste) = explore(&items);
        for (explored, (blob, diff_id)) in explored.iter_mut().zip(layers) {
            explored.blob = blob.clone();
            explored.diff_id = *diff_id;
        }
        Ok((explored, waste))
    }

    fn items(&self, blob: &Descriptor) -> Result<Vec<Item>> {
        let mut blob = self.blob(&blob.digest)?;
        let (_, inflated) = inflate(&mut blob).map_err(|source| Error::Read { what: "layer", source })?;
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER, inflated));
        let mut items = Vec::new();
        while let Some(entry) = reader.entry()? {
            let path = clean(&entry.path);
            let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else { continue };
            let name = name.as_bytes();
            items.push(if name == OPAQUE_MARKER.as_bytes() {
                Item::Opaque(parent.to_owned())
            } else if name.starts_with(AUFS_PREFIX.as_bytes()) {
                continue;
            } else if let Some(hidden) = name.strip_prefix(WHITEOUT_PREFIX.as_bytes()) {
                Item::Whiteout(parent.join(std::ffi::OsStr::from_bytes(hidden)))
            } else if entry.kind == EntryKind::Directory {
                Item::Directory(path)
            } else {
                Item::Other(path, entry.size)
            });
        }
        Ok(items)
    }
}

/// What is at a path, and whose.
#[derive(Clone, Copy)]
struct Present {
    layer: usize,
    bytes: u64,
    is_dir: bool,
}

/// The image as the layers so far show it. Paths are in order of their components, so that what is below a directory
/// follows it.
#[derive(Default)]
struct Exploring {
    present: BTreeMap<PathBuf, Present>,
    layers: Vec<Explored>,
    waste: BTreeMap<PathBuf, Tally>,
}

fn explore(layers: &[Vec<Item>]) -> (Vec<Explored>, Vec<Waste>) {
    let mut exploring = Exploring::default();
    for items in layers {
        exploring.layer(items);
    }
    let mut waste: Vec<Waste> = exploring
        .waste
        .into_iter()
        .filter(|(_, lost)| lost.bytes > 0)
        .map(|(path, lost)| Waste { path, times: lost.files, bytes: lost.bytes })
        .collect();
    waste.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    (exploring.layers, waste)
}

impl Exploring {
    fn layer(&mut self, items: &[Item]) {
        let number = self.layers.len();
        let nothing = Digest::from_bytes([0; 32]);
        self.layers.push(Explored {
            blob: Descriptor::new("", nothing, 0),
            diff_id: nothing,
            added: Tally::default(),
            changed: Tally::default(),
            removed: Tally::default(),
            wasted: Tally::default(),
            changes: Vec::new(),
        });
        // Removals are of the layers below, wherever they stand in the archive.
        let mut removed: BTreeMap<PathBuf, Tally> = BTreeMap::new();
        for item in items {
            match item {
                Item::Whiteout(path) => {
                    if let Some(lost) = self.lose(path, true) {
                        removed.insert(path.clone(), lost);
                    }
                }
                Item::Opaque(path) => {
                    for below in self.children(path) {
                        if let Some(lost) = self.lose(&below, true) {
                            removed.insert(below, lost);
                        }
                    }
                }
                Item::Directory(_) | Item::Other(..) => {}
            }
        }
        for item in items {
            let (path, bytes, is_dir) = match item {
                Item::Directory(path) => (path, 0, true),
                Item::Other(path, bytes) => (path, *bytes, false),
                Item::Whiteout(_) | Item::Opaque(_) => continue,
            };
            let there = self.present.get(path).copied();
            if is_dir && there.is_some_and(|there| there.is_dir) {
                continue;
            }
            let again = there.is_some_and(|there| there.layer == number);
            let replaced = self.lose(path, false).is_some() || removed.remove(path).is_some();
            self.present.insert(path.clone(), Present { layer: number, bytes, is_dir });
            if again {
                continue;
            }
            let layer = &mut self.layers[number];
            let (tally, kind) = if replaced {
                (&mut layer.changed, ChangeKind::Modified)
            } else {
                (&mut layer.added, ChangeKind::Added)
            };
            if !is_dir {
                tally.add(bytes);
            }
            layer.changes.push((Change { path: path.clone(), kind }, bytes));
        }
        let layer = &mut self.layers[number];
        for (path, lost) in removed {
            layer.removed.files += lost.files;
            layer.removed.bytes += lost.bytes;
            layer.changes.push((Change { path, kind: ChangeKind::Deleted }, lost.bytes));
        }
        layer.changes.sort_by(|(a, _), (b, _)| a.path.cmp(&b.path));
    }

    /// Takes a path and all below it out of what is seen: what was lost, `None` if there was nothing. `below`: only what
    /// is of an earlier layer.
    fn lose(&mut self, path: &Path, below: bool) -> Option<Tally> {
        let number = self.layers.len() - 1;
        let gone: Vec<PathBuf> = self
            .present
            .range::<Path, _>((Included(path), Unbounded))
            .take_while(|(other, _)| other.starts_with(path))
            .filter(|(_, present)| !below || present.layer < number)
            .map(|(other, _)| other.clone())
            .collect();
        let mut lost = None;
        for path in gone {
            let Some(present) = self.present.remove(&path) else { continue };
            let lost = lost.get_or_insert_with(Tally::default);
            if !present.is_dir {
                lost.add(present.bytes);
                self.layers[present.layer].wasted.add(present.bytes);
                self.waste.entry(path).or_default().add(present.bytes);
            }
        }
        lost
    }

    /// What is directly in a directory.
    fn children(&self, path: &Path) -> Vec<PathBuf> {
        let all = self.present.range::<Path, _>((Included(path), Unbounded)).map(|(other, _)| other);
        let below = all.take_while(|other| other.starts_with(path));
        below.filter(|other| other.parent() == Some(path) && *other != path).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: u64) -> Item {
        Item::Other(path.into(), bytes)
    }

    fn dir(path: &str) -> Item {
        Item::Directory(path.into())
    }

    fn facts(layer: &Explored) -> [(u64, u64); 4] {
        [layer.added, layer.changed, layer.removed, layer.wasted].map(|t| (t.files, t.bytes))
    }

    fn changes(layer: &Explored) -> String {
        let mut text = String::new();
        for (change, bytes) in &layer.changes {
            let letter = match change.kind {
                ChangeKind::Added => 'A',
                ChangeKind::Modified => 'C',
                ChangeKind::Deleted => 'D',
            };
            text += &format!("{letter} {} {bytes};", change.path.display());
        }
        text
    }

    #[test]
    fn every_layer_says_what_it_does_and_what_is_lost_of_it() {
        let layers = [
            vec![dir("d"), file("d/a", 10), file("d/b", 20), file("e", 5), dir("old"), file("old/x", 7)],
            vec![dir("d"), file("d/a", 11), Item::Whiteout("e".into()), Item::Whiteout("none".into())],
            vec![Item::Opaque("d".into()), file("d/c", 1), Item::Whiteout("old".into()), file("old", 2)],
        ];
        let (explored, waste) = explore(&layers);
        assert_eq!(facts(&explored[0]), [(4, 42), (0, 0), (0, 0), (4, 42)]);
        assert_eq!(changes(&explored[0]), "A d 0;A d/a 10;A d/b 20;A e 5;A old 0;A old/x 7;");
        assert_eq!(facts(&explored[1]), [(0, 0), (1, 11), (1, 5), (1, 11)]);
        assert_eq!(changes(&explored[1]), "C d/a 11;D e 5;");
        assert_eq!(facts(&explored[2]), [(1, 1), (1, 2), (2, 31), (0, 0)]);
        assert_eq!(changes(&explored[2]), "D d/a 11;D d/b 20;A d/c 1;C old 2;");
        let waste: Vec<_> = waste.iter().map(|w| (w.path.to_str().unwrap(), w.times, w.bytes)).collect();
        assert_eq!(waste, [("d/a", 2, 21), ("d/b", 1, 20), ("old/x", 1, 7), ("e", 1, 5)]);
    }

    #[test]
    fn what_one_layer_has_twice_is_lost_once_and_names_alike_are_apart() {
        let layers = [
            vec![file("a", 1), file("a", 3), dir("ab"), file("ab/x", 2), file("a.b", 4)],
            vec![Item::Whiteout("a".into())],
        ];
        let (explored, _) = explore(&layers);
        assert_eq!(facts(&explored[0])[3], (2, 4));
        assert_eq!(changes(&explored[1]), "D a 3;");
    }
}
