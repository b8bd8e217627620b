//! What is known of the files in a directory of the client's: a file whose times and size are as they were is not read
//! again.
//!
//! `<cache>/files/<device>-<inode of the directory>`: one record of fixed length per file, found by its inode. The
//! kernel's change time (ctime) decides: no program can set it back. A file that was changed a moment before it was
//! read is not remembered, as the next change could fall into the same tick of that clock.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sys::file::{self, Durability};
use sys::root::Metadata;

use crate::error::Result;

/// What a file of these begins with.
const MAGIC: &[u8; 8] = b"ctindex1";
/// An inode, its facts, a digest.
const RECORD: usize = 8 + FACTS + 32;
const FACTS: usize = 52;
/// Longer than a tick of any kernel's clock.
const SETTLED: Duration = Duration::from_millis(100);
/// So many small files are read before all that is known is: where a Dockerfile copies three files of a hundred thousand,
/// that is less work.
const FEW: usize = 64;
const SMALL: u64 = 256 << 10;
/// Directories that are remembered; those that were not used for the longest time go first.
const MOST: usize = 64;

/// Size, mode, owner and times: what stat(2) says as bytes.
type Facts = [u8; FACTS];

/// Known files by inode.
#[derive(Debug)]
pub(crate) struct Index {
    path: PathBuf,
    device: u64,
    /// `None`: not read yet.
    known: Option<HashMap<u64, (Facts, [u8; 32])>>,
    /// How many files were looked for.
    asked: usize,
    learnt: bool,
    now: Duration,
}

impl Index {
    /// What is known below a directory; nothing is read yet.
    pub(crate) fn new(dir: &Path, top: &Metadata) -> Self {
        Self {
            path: dir.join(format!("{:x}-{:x}", top.device, top.inode)),
            device: top.device,
            known: None,
            asked: 0,
            learnt: false,
            now: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        }
    }

    fn load(&self) -> Result<HashMap<u64, (Facts, [u8; 32])>> {
        let mut known = HashMap::new();
        let bytes = file::read_if_exists(&self.path)?.unwrap_or_default();
        // One that is cut or of another version is as good as none.
        if let Some(records) = bytes.strip_prefix(MAGIC) {
            known.reserve(records.len() / RECORD);
            for record in records.chunks_exact(RECORD) {
                let (inode, rest) = record.split_at(8);
                let (facts, digest) = rest.split_at(FACTS);
                if let (Ok(inode), Ok(facts), Ok(digest)) =
                    (inode.try_into(), facts.try_into(), digest.try_into())
                {
                    known.insert(u64::from_le_bytes(inode), (facts, digest));
                }
            }
        }
        Ok(known)
    }

    /// The digest of a file that is as it was.
    pub(crate) fn find(&mut self, metadata: &Metadata) -> Result<Option<[u8; 32]>> {
        if self.known.is_none() {
            self.asked += 1;
            if self.asked <= FEW && metadata.size <= SMALL {
                return Ok(None);
            }
            self.known = Some(self.load()?);
        }
        let known = self.known.as_ref().and_then(|known| known.get(&metadata.inode));
        let same = known.filter(|(known, _)| metadata.device == self.device && *known == facts(metadata));
        Ok(same.map(|(_, digest)| *digest))
    }

    /// Remembers a file that was read; the first few are read each time.
    pub(crate) fn learn(&mut self, metadata: &Metadata, digest: [u8; 32]) {
        let changed =
            Duration::new(u64::try_from(metadata.changed.seconds).unwrap_or(0), metadata.changed.nanos);
        if let Some(known) = &mut self.known
            && metadata.device == self.device
            && changed + SETTLED < self.now
        {
            known.insert(metadata.inode, (facts(metadata), digest));
            self.learnt = true;
        }
    }

    /// Writes what was learnt.
    pub(crate) fn save(&mut self) -> Result<()> {
        let Some(known) = self.known.as_ref().filter(|_| self.learnt) else { return Ok(()) };
        let mut bytes = Vec::with_capacity(MAGIC.len() + known.len() * RECORD);
        bytes.extend_from_slice(MAGIC);
        for (inode, (facts, digest)) in known {
            bytes.extend_from_slice(&inode.to_le_bytes());
            bytes.extend_from_slice(facts);
            bytes.extend_from_slice(digest);
        }
        if let Some(dir) = self.path.parent() {
            file::create_dir_all(dir, 0o700)?;
            forget_oldest(dir)?;
        }
        file::write_atomic(&self.path, &bytes, 0o600, Durability::Process)?;
        self.learnt = false;
        Ok(())
    }
}

fn facts(metadata: &Metadata) -> Facts {
    let mut facts = [0; FACTS];
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        facts[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&metadata.size.to_le_bytes());
    for number in [metadata.mode, metadata.uid, metadata.gid, metadata.major, metadata.minor] {
        put(&number.to_le_bytes());
    }
    for time in [metadata.modified, metadata.changed] {
        put(&time.seconds.to_le_bytes());
        put(&time.nanos.to_le_bytes());
    }
    facts
}

fn forget_oldest(dir: &Path) -> Result<()> {
    let names = file::list(dir)?;
    if names.len() < MOST {
        return Ok(());
    }
    let used = |name: &String| dir.join(name).metadata().and_then(|m| m.modified()).ok();
    if let Some(oldest) = names.iter().min_by_key(|name| used(name)) {
        file::remove(&dir.join(oldest))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sys::root::{Kind, Root, Time};

    #[test]
    fn a_file_is_known_until_anything_of_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let top = Root::open(dir.path()).unwrap().top().own_metadata().unwrap();
        let mut index = Index::new(dir.path(), &top);
        let changed = Time { seconds: 1000, nanos: 1 };
        let old = Metadata { kind: Kind::File, size: SMALL + 1, changed, inode: 7, ..top };
        assert_eq!(index.find(&old).unwrap(), None);
        index.learn(&old, [1; 32]);
        let fresh = Metadata { inode: 8, changed: Time { seconds: 1 << 40, nanos: 0 }, ..old };
        index.learn(&fresh, [2; 32]);
        index.save().unwrap();
        let mut index = Index::new(dir.path(), &top);
        let small = Metadata { size: 1, ..old };
        assert!(
            index.find(&small).unwrap().is_none() && index.known.is_none(),
            "a small file is read instead"
        );
        assert_eq!(index.find(&old).unwrap(), Some([1; 32]));
        assert_eq!(index.find(&fresh).unwrap(), None, "it may change again within the same tick");
        for changed in [
            Metadata { size: old.size + 1, ..old },
            Metadata { changed: Time { seconds: 1000, nanos: 2 }, ..old },
            Metadata { mode: old.mode ^ 1, ..old },
            Metadata { device: old.device + 1, ..old },
        ] {
            assert_eq!(index.find(&changed).unwrap(), None);
        }
    }
}
