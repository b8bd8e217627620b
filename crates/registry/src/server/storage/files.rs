//! A directory. What is written is synced before it is promised; a blob becomes visible by rename(2).

use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sys::file::{self, Durability};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Entry, Error, Hold, Result, Stat};
use crate::server::body::Body;
use crate::server::digest::{Check, Digest, Hasher};

/// The layout that this program reads and writes.
const LAYOUT: &[u8] = b"1";
/// Chunks between a connection and the thread that writes them.
const QUEUE: usize = 16;
/// A record that is not written after so long never will be.
const LEFT_OVER: std::time::Duration = std::time::Duration::from_secs(3600);

/// A directory of files.
pub(crate) struct Files {
    root: Arc<PathBuf>,
    /// `layout`, locked (flock(2)) for as long as this is open: collecting needs to know of every write.
    _owner: File,
}

/// Runs blocking work on files.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.expect("work on files neither panics nor is aborted")
}

impl Files {
    /// Opens or makes the directory.
    pub(crate) fn open_root(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(Error::io("resolve", &root.display().to_string()))?;
        file::create_dir_all(&root, 0o700)?;
        let layout = root.join("layout");
        match file::read_if_exists(&layout)? {
            None => file::write_atomic(&layout, LAYOUT, 0o600, Durability::Machine)?,
            Some(found) if found.trim_ascii() == LAYOUT => {}
            Some(_) => {
                let detail = "another program's, or a newer one's; it is left alone".to_owned();
                return Err(Error::failed("read layout of", &root.display().to_string())(detail));
            }
        }
        let owner = file::open(&layout)?;
        match owner.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse(root.display().to_string())),
            Err(TryLockError::Error(e)) => return Err(Error::io("lock", "layout")(e)),
        }
        Ok(Self { root: Arc::new(root), _owner: owner })
    }

    fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(key);
        blocking(move || match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::io("read", &path.display().to_string())(e)),
        })
        .await
    }

    pub(super) async fn write(&self, key: &str, bytes: Bytes) -> Result<()> {
        let path = self.path(key);
        blocking(move || below(&path, |path| file::write_atomic(path, &bytes, 0o600, Durability::Machine)))
            .await
    }

    /// Directories that have become empty go, too.
    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        let (path, root) = (self.path(key), Arc::clone(&self.root));
        blocking(move || {
            match std::fs::remove_file(&path) {
                Err(e) if !is_absent(&e) => return Err(Error::io("unlink", &path.display().to_string())(e)),
                _ => {}
            }
            prune(&path, &root);
            Ok(())
        })
        .await
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stat>> {
        let path = self.path(key);
        blocking(move || match std::fs::metadata(&path) {
            Ok(metadata) => Ok(stat(&metadata)),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(Error::io("stat", &path.display().to_string())(e)),
        })
        .await
    }

    pub(super) async fn touch(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        blocking(move || {
            let now = std::fs::FileTimes::new().set_modified(std::time::SystemTime::now());
            let touched = existing(&path).and_then(|file| file.set_times(now));
            touched.map_err(Error::io("touch", &path.display().to_string()))
        })
        .await
    }

    pub(super) async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        let path = self.path(key);
        blocking(move || {
            let mut entries = Vec::new();
            for name in file::list(&path)? {
                match std::fs::metadata(path.join(&name)) {
                    // A record that was being written, now or when a crash came.
                    Ok(metadata) if name.starts_with('.') => {
                        if stat(&metadata).is_some_and(|stat| stat.age() > LEFT_OVER) {
                            file::remove(&path.join(&name))?;
                        }
                    }
                    Ok(metadata) => entries.push(Entry { name, stat: stat(&metadata) }),
                    Err(e) if is_absent(&e) => {}
                    Err(e) => return Err(Error::io("stat", &path.join(&name).display().to_string())(e)),
                }
            }
            Ok(entries)
        })
        .await
    }

    pub(super) async fn open(&self, key: &str, first: u64, length: u64) -> Result<Body> {
        let path = self.path(key);
        let file = blocking(move || Ok(file::open(&path)?)).await?;
        Ok(Body::file(file, first, length))
    }

    pub(super) async fn digest(&self, key: &str, alike: Digest) -> Result<Digest> {
        let path = self.path(key);
        blocking(move || digest_of(&mut file::open(&path)?, &path, &alike)).await
    }

    pub(super) async fn begin(&self, key: &str) -> Result<()> {
        let path = self.path(key);
        blocking(move || below(&path, |path| file::create(path, 0o600).map(drop))).await
    }

    pub(super) async fn resume(&self, key: &str, hold: Hold) -> Result<Option<Growing>> {
        let (path, root) = (self.path(key), Arc::clone(&self.root));
        blocking(move || {
            let file = match existing(&path) {
                Ok(file) => file,
                Err(e) if is_absent(&e) => return Ok(None),
                Err(e) => return Err(Error::io("open", &path.display().to_string())(e)),
            };
            let tip = Tip::find(file, path, hold)?;
            Ok(Some(Growing { root, size: tip.size, begun: tip.size, state: State::Still(Box::new(tip)) }))
        })
        .await
    }
}

/// Does something to a path whose directories may be missing, or be pruned meanwhile: then one that was in the way of
/// mkdir(2) a moment ago is none any more.
fn below<T>(path: &Path, work: impl Fn(&Path) -> std::result::Result<T, sys::Error>) -> Result<T> {
    let directory = path.parent().expect("it is below the root");
    for _ in 0..8 {
        match file::create_dir_all(directory, 0o700).and_then(|()| work(path)) {
            Err(e) if matches!(e.source.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) => {}
            done => return Ok(done?),
        }
    }
    Ok(work(path)?)
}

/// Opens a file that is there for reading, and for writing at its end.
fn existing(path: &Path) -> std::io::Result<File> {
    std::fs::OpenOptions::new().read(true).append(true).open(path)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn stat(metadata: &std::fs::Metadata) -> Option<Stat> {
    let modified = metadata.modified().unwrap_or(std::time::SystemTime::UNIX_EPOCH);
    metadata.is_file().then_some(Stat { size: metadata.len(), modified })
}

/// Removes the directories above what was removed, as far as they are empty. rmdir(2) refuses the others.
fn prune(path: &Path, root: &Path) {
    for directory in path.ancestors().skip(1).take_while(|d| d.starts_with(root) && *d != root) {
        if directory.parent() == Some(root) || std::fs::remove_dir(directory).is_err() {
            return;
        }
    }
}

fn digest_of(file: &mut File, path: &Path, alike: &Digest) -> Result<Digest> {
    let failed = |e| Error::io("read", &path.display().to_string())(e);
    file.rewind().map_err(failed)?;
    let mut check = Check::alike(alike);
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(check.finish()),
            n => check.update(&buffer[..n]),
        }
    }
}

/// The end of an upload's file, with the hash of what is before it.
struct Tip {
    file: File,
    path: PathBuf,
    size: u64,
    hasher: Hasher,
    _hold: Hold,
}

/// What is kept beside an upload's file.
#[derive(Serialize, Deserialize)]
struct Record {
    size: u64,
    sha256: String,
}

impl Tip {
    /// The record tells the hash as of the last request; what a crash left beyond that is hashed now.
    fn find(mut file: File, path: PathBuf, hold: Hold) -> Result<Self> {
        let failed = |e| Error::io("read", &path.display().to_string())(e);
        let length = file.metadata().map_err(failed)?.len();
        let record = file::read_if_exists(&record_path(&path))?
            .and_then(|bytes| serde_json::from_slice::<Record>(&bytes).ok())
            .filter(|record| record.size <= length)
            .and_then(|record| Some((record.size, Hasher::restore(&record.sha256)?)));
        let (mut size, mut hasher) = record.unwrap_or_default();
        if size < length {
            file.seek(SeekFrom::Start(size)).map_err(failed)?;
            let mut buffer = vec![0; 256 << 10];
            loop {
                match file.read(&mut buffer).map_err(failed)? {
                    0 => break,
                    n => {
                        hasher.update(&buffer[..n]);
                        size += n as u64;
                    }
                }
            }
        }
        Ok(Self { file, path, size, hasher, _hold: hold })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::io("write", &self.path.display().to_string()))?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn save(&self) -> Result<()> {
        let record = Record { size: self.size, sha256: self.hasher.save() };
        let bytes = serde_json::to_vec(&record).expect("a record has string keys");
        Ok(file::write_atomic(&record_path(&self.path), &bytes, 0o600, Durability::Process)?)
    }

    /// The last that may fail is the rename: before it the file is still the upload's.
    fn place(&mut self, digest: Digest, target: &Path) -> Result<()> {
        let actual = match digest {
            Digest::Sha256(_) => self.hasher.clone().finish(),
            Digest::Sha512(_) => digest_of(&mut self.file, &self.path, &digest)?,
        };
        if actual != digest {
            return Err(Error::mismatch(&digest, &actual));
        }
        self.file.sync_data().map_err(Error::io("fsync", &self.path.display().to_string()))?;
        below(target, |target| file::rename(&self.path, target))
    }

    fn placed(&self, target: &Path, root: &Path) -> Result<()> {
        file::sync_directory(target.parent().expect("it is below the root"))?;
        file::remove(&record_path(&self.path))?;
        prune(&self.path, root);
        Ok(())
    }

    fn truncate(&self, size: u64) -> Result<()> {
        self.file.set_len(size).map_err(Error::io("truncate", &self.path.display().to_string()))
    }

    fn cancel(&self, root: &Path) -> Result<()> {
        file::remove(&self.path)?;
        file::remove(&record_path(&self.path))?;
        prune(&self.path, root);
        Ok(())
    }
}

/// `_uploads/<id>.state` beside `_uploads/<id>`.
fn record_path(path: &Path) -> PathBuf {
    path.with_extension("state")
}

/// An upload's file. A thread of its own hashes and writes, beside the connection that receives.
pub(crate) struct Growing {
    root: Arc<PathBuf>,
    size: u64,
    begun: u64,
    state: State,
}

enum State {
    Still(Box<Tip>),
    Moving {
        sender: mpsc::Sender<Bytes>,
        writer: JoinHandle<(Box<Tip>, Result<()>)>,
    },
    /// On the way from one to another.
    Changing,
}

impl Growing {
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<()> {
        let length = bytes.len() as u64;
        if let State::Still(_) = self.state {
            self.state = match std::mem::replace(&mut self.state, State::Changing) {
                State::Still(mut tip) => {
                    let (sender, mut receiver) = mpsc::channel::<Bytes>(QUEUE);
                    let writer = tokio::task::spawn_blocking(move || {
                        while let Some(bytes) = receiver.blocking_recv() {
                            if let Err(error) = tip.append(&bytes) {
                                return (tip, Err(error));
                            }
                        }
                        (tip, Ok(()))
                    });
                    State::Moving { sender, writer }
                }
                other => other,
            };
        }
        if let State::Moving { sender, .. } = &self.state
            && sender.send(bytes).await.is_ok()
        {
            self.size += length;
            return Ok(());
        }
        // The writer has ended early: it tells why.
        self.settle().await.and(Err(Error::failed("write", "an upload")("it was broken off".into())))
    }

    /// Waits until all that was sent is written.
    async fn settle(&mut self) -> Result<()> {
        match std::mem::replace(&mut self.state, State::Changing) {
            State::Moving { sender, writer } => {
                drop(sender);
                let (tip, written) = writer.await.expect("work on files neither panics nor is aborted");
                self.state = State::Still(tip);
                written
            }
            other => {
                self.state = other;
                Ok(())
            }
        }
    }

    /// The end of the file.
    fn tip(self) -> Result<(Box<Tip>, Arc<PathBuf>)> {
        match self.state {
            State::Still(tip) => Ok((tip, self.root)),
            State::Moving { .. } | State::Changing => {
                Err(Error::failed("write", "an upload")("it was broken off".into()))
            }
        }
    }

    /// Does what a request ends with, once all is written. If it fails, so did the request: its bytes are forgotten.
    async fn conclude(
        mut self,
        work: impl FnOnce(&mut Tip) -> Result<()> + Send + 'static,
    ) -> Result<(Box<Tip>, Arc<PathBuf>)> {
        let written = self.settle().await;
        let begun = self.begun;
        let (mut tip, root) = self.tip()?;
        blocking(move || match written.and_then(|()| work(&mut tip)) {
            Ok(()) => Ok((tip, root)),
            Err(error) => {
                if let Err(stays) = tip.truncate(begun) {
                    tracing::warn!(error = %stays, "what came of an upload stays");
                }
                Err(error)
            }
        })
        .await
    }

    pub(super) async fn save(self) -> Result<()> {
        self.conclude(|tip| tip.save()).await.map(drop)
    }

    /// Also after a failure to write, which was told.
    pub(super) async fn rewind(mut self) -> Result<()> {
        let _told = self.settle().await;
        let begun = self.begun;
        let (tip, _) = self.tip()?;
        blocking(move || tip.truncate(begun)).await
    }

    pub(super) async fn commit(self, digest: Digest, key: &str) -> Result<()> {
        let target = self.root.join(key);
        let goal = target.clone();
        let (tip, root) = self.conclude(move |tip| tip.place(digest, &goal)).await?;
        blocking(move || tip.placed(&target, &root)).await
    }

    pub(super) async fn cancel(mut self) -> Result<()> {
        let _gone_anyway = self.settle().await;
        let (tip, root) = self.tip()?;
        blocking(move || tip.cancel(&root)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_crash_left_is_gone_on_with() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::open_root(directory.path()).unwrap();
        let key = "repositories/a/_uploads/x";
        files.begin(key).await.unwrap();
        let hold: Hold = Arc::new(());
        let mut first = files.resume(key, Arc::clone(&hold)).await.unwrap().unwrap();
        first.append("hel".into()).await.unwrap();
        first.save().await.unwrap();
        let mut second = files.resume(key, Arc::clone(&hold)).await.unwrap().unwrap();
        second.append("lo".into()).await.unwrap();
        // Nothing is saved: as if the process had been killed once the bytes were in the file.
        drop(second);
        while Arc::strong_count(&hold) > 1 {
            tokio::task::yield_now().await;
        }
        let third = files.resume(key, hold).await.unwrap().unwrap();
        assert_eq!(third.size(), 5);
        third.commit(Digest::of(b"hello"), "blobs/sha256/y").await.unwrap();
        assert_eq!(files.read("blobs/sha256/y").await.unwrap().unwrap(), b"hello");
        assert_eq!(files.list("repositories").await.unwrap(), []);
    }

    #[test]
    fn one_process_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let _first = Files::open_root(directory.path()).unwrap();
        assert!(matches!(Files::open_root(directory.path()), Err(Error::InUse(_))));
    }
}
