//! A bucket of an S3-compatible object store. Nothing is kept here: any server can go on where another stopped.
//!
//! ```text
//! <prefix>/…                     the keys of a directory
//!          <upload>/state        how far it is, its hash, its parts
//!                   tail         bytes that are too few for a part
//!                   data         the object that the parts become; then copied to the blob's key
//! ```
//!
//! An object store knows no locks. What a collector on another server could remove while it is linked is made new first
//! (`touch`), and a manifest's content is looked for once more after the manifest is in.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::s3::S3;
use super::{Entry, Error, Hold, Result, Stat};
use crate::client::Transport;
use crate::server::body::Body;
use crate::server::digest::{Check, Digest, Hasher};

/// The first thousand parts have this size; later ones are larger, so that ten thousand are enough for anything.
const PART: usize = 8 << 20;
const RECORD_LIMIT: usize = 8 << 20;

/// Where the bucket is, and how to use it.
#[derive(Debug, Clone)]
pub(crate) struct BucketConfig {
    pub(crate) endpoint: String,
    pub(crate) bucket: String,
    pub(crate) region: String,
    /// Before every key.
    pub(crate) prefix: String,
    /// AWS' shared credentials file; else the environment.
    pub(crate) credentials_file: Option<PathBuf>,
    /// `bucket.host` instead of `host/bucket`.
    pub(crate) virtual_host: bool,
    /// Clients get blobs from the object store itself.
    pub(crate) redirect: bool,
}

/// A bucket.
pub(crate) struct Bucket {
    s3: Arc<S3>,
    prefix: String,
    redirect: bool,
}

impl Bucket {
    /// Finds out whether the bucket can be used.
    pub(crate) async fn open_bucket(config: BucketConfig, transport: Arc<Transport>) -> Result<Self> {
        let s3 = S3::new(&config, transport).map_err(Error::failed("open", &config.bucket))?;
        let prefix = if config.prefix.is_empty() { String::new() } else { format!("{}/", config.prefix) };
        let bucket = Self { s3: Arc::new(s3), prefix, redirect: config.redirect };
        bucket.s3.list(&format!("{}token-key", bucket.prefix)).await?;
        Ok(bucket)
    }

    fn key(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    pub(super) async fn read(&self, key: &str) -> Result<Option<Vec<u8>>> {
        let Some(answer) = self.s3.get(&self.key(key), None).await? else { return Ok(None) };
        let bytes = answer.bytes(RECORD_LIMIT).await.map_err(Error::sent("read", key))?;
        Ok(Some(bytes.to_vec()))
    }

    pub(super) async fn write(&self, key: &str, bytes: Bytes) -> Result<()> {
        self.s3.put(&self.key(key), bytes).await
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        self.s3.remove(&self.key(key)).await
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stat>> {
        self.s3.stat(&self.key(key)).await
    }

    pub(super) async fn touch(&self, key: &str) -> Result<()> {
        let key = self.key(key);
        self.s3.copy(&key, &key).await
    }

    pub(super) async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        self.s3.list(&format!("{}/", self.key(key.trim_end_matches('/')))).await
    }

    pub(super) async fn open(&self, key: &str, first: u64, length: u64) -> Result<Body> {
        if length == 0 {
            return Ok(Body::empty());
        }
        let found = self.s3.get(&self.key(key), Some((first, length))).await?;
        let mut answer = found.ok_or_else(|| Error::failed("read", key)("it is not there".into()))?;
        let (sender, receiver) = mpsc::channel(2);
        tokio::spawn(async move {
            loop {
                let chunk = match answer.chunk().await {
                    Ok(Some(chunk)) => Ok(chunk),
                    Ok(None) => return,
                    Err(error) => Err(std::io::Error::other(error.at_host())),
                };
                let last = chunk.is_err();
                // The client has gone.
                if sender.send(chunk).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Body::Stream(length, receiver))
    }

    pub(super) fn elsewhere(&self, key: &str) -> Option<String> {
        self.redirect.then(|| self.s3.presigned(&self.key(key)))
    }

    pub(super) async fn digest(&self, key: &str, alike: Digest) -> Result<Digest> {
        digest(&self.s3, &self.key(key), &alike).await
    }

    pub(super) async fn begin(&self, key: &str) -> Result<()> {
        let state = serde_json::to_vec(&State::default()).expect("a record has string keys");
        self.s3.put(&format!("{}/state", self.key(key)), state.into()).await
    }

    pub(super) async fn resume(&self, key: &str, hold: Hold) -> Result<Option<Growing>> {
        let key = self.key(key);
        let state_key = format!("{key}/state");
        let Some(answer) = self.s3.get(&state_key, None).await? else { return Ok(None) };
        let bytes = answer.bytes(RECORD_LIMIT).await.map_err(Error::sent("read", &state_key))?;
        let odd = |why: String| Error::failed("read", &state_key)(why);
        let state: State = serde_json::from_slice(&bytes).map_err(|e| odd(e.to_string()))?;
        let hasher = match state.sha256.as_str() {
            "" => Hasher::default(),
            saved => Hasher::restore(saved).ok_or_else(|| odd("its hash is damaged".into()))?,
        };
        let mut tail = BytesMut::new();
        if state.tail > 0 {
            let name = tail_key(&key, state.size);
            let found = self.s3.get(&name, None).await?.ok_or_else(|| odd("its tail is gone".into()))?;
            tail.extend_from_slice(
                &found.bytes(RECORD_LIMIT * 64).await.map_err(Error::sent("read", &name))?,
            );
        }
        Ok(Some(Growing {
            s3: Arc::clone(&self.s3),
            prefix: self.prefix.clone(),
            key,
            begun: state.size,
            state,
            hasher,
            tail,
            _hold: hold,
        }))
    }
}

async fn digest(s3: &S3, key: &str, alike: &Digest) -> Result<Digest> {
    let found = s3.get(key, None).await?;
    let mut answer = found.ok_or_else(|| Error::failed("read", key)("it is not there".into()))?;
    let mut check = Check::alike(alike);
    while let Some(chunk) = answer.chunk().await.map_err(Error::sent("read", key))? {
        check.update(&chunk);
    }
    Ok(check.finish())
}

/// Named by the upload's size: one that a later request writes does not spoil what an earlier one saved.
fn tail_key(key: &str, size: u64) -> String {
    format!("{key}/tail-{size}")
}

/// What is kept of an upload between requests.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    size: u64,
    sha256: String,
    /// Bytes of the tail.
    tail: usize,
    /// The object store's id of the object in parts, once there is a part.
    parts_id: Option<String>,
    etags: Vec<String>,
}

/// An upload in a bucket.
pub(crate) struct Growing {
    s3: Arc<S3>,
    prefix: String,
    key: String,
    begun: u64,
    state: State,
    hasher: Hasher,
    tail: BytesMut,
    _hold: Hold,
}

impl Growing {
    pub(super) fn size(&self) -> u64 {
        self.state.size
    }

    pub(super) async fn append(&mut self, bytes: Bytes) -> Result<()> {
        self.hasher.update(&bytes);
        self.state.size += bytes.len() as u64;
        self.tail.extend_from_slice(&bytes);
        while self.tail.len() >= self.part_size() {
            let part = self.tail.split_to(self.part_size()).freeze();
            self.part(part).await?;
        }
        Ok(())
    }

    fn part_size(&self) -> usize {
        PART << (self.state.etags.len() / 1000).min(6)
    }

    fn data_key(&self) -> String {
        format!("{}/data", self.key)
    }

    async fn part(&mut self, bytes: Bytes) -> Result<()> {
        let key = self.data_key();
        let id = match &self.state.parts_id {
            Some(id) => id.clone(),
            None => self.s3.begin(&key).await?,
        };
        self.state.parts_id = Some(id.clone());
        let number = u16::try_from(self.state.etags.len() + 1)
            .map_err(|_| Error::failed("write", &key)("it has too many parts".into()))?;
        self.state.etags.push(self.s3.part(&key, &id, number, bytes).await?);
        Ok(())
    }

    pub(super) async fn save(mut self) -> Result<()> {
        let (old, tail) = (self.state.tail, self.tail.split().freeze());
        self.state.tail = tail.len();
        self.state.sha256 = self.hasher.save();
        if !tail.is_empty() {
            self.s3.put(&tail_key(&self.key, self.state.size), tail).await?;
        }
        let state = serde_json::to_vec(&self.state).expect("a record has string keys");
        self.s3.put(&format!("{}/state", self.key), state.into()).await?;
        if old > 0 && self.begun != self.state.size {
            self.s3.remove(&tail_key(&self.key, self.begun)).await?;
        }
        Ok(())
    }

    /// The state as it was saved still holds: parts sent since are sent again under the same numbers.
    pub(super) async fn rewind(self) -> Result<()> {
        Ok(())
    }

    pub(super) async fn commit(mut self, expected: Digest, key: &str) -> Result<()> {
        let target = format!("{}{key}", self.prefix);
        let check = |actual: Digest| match actual == expected {
            true => Ok(()),
            false => Err(Error::mismatch(&expected, &actual)),
        };
        if let Digest::Sha256(_) = expected {
            check(self.hasher.clone().finish())?;
        }
        if self.state.parts_id.is_none() {
            let bytes = self.tail.split().freeze();
            check(expected.alike(&bytes))?;
            self.s3.put(&target, bytes).await?;
            return self.forget(false).await;
        }
        if !self.tail.is_empty() {
            let last = self.tail.split().freeze();
            self.part(last).await?;
        }
        let data = self.data_key();
        if let Some(id) = self.state.parts_id.take() {
            self.s3.complete(&data, &id, &self.state.etags).await?;
        }
        if let Digest::Sha512(_) = expected
            && let Err(mismatch) = check(digest(&self.s3, &data, &expected).await?)
        {
            // The parts are one object now, and cannot be gone on with.
            self.forget(true).await?;
            return Err(mismatch);
        }
        self.s3.copy(&data, &target).await?;
        self.forget(true).await
    }

    pub(super) async fn cancel(self) -> Result<()> {
        if let Some(id) = &self.state.parts_id {
            self.s3.abort(&self.data_key(), id).await?;
        }
        self.forget(true).await
    }

    async fn forget(&self, data: bool) -> Result<()> {
        self.s3.remove(&format!("{}/state", self.key)).await?;
        if self.state.tail > 0 {
            self.s3.remove(&tail_key(&self.key, self.begun)).await?;
        }
        if data { self.s3.remove(&self.data_key()).await } else { Ok(()) }
    }
}
