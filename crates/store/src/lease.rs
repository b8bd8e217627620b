//! Leases: what a pull, build or load in flight has written or found stays until it is named or the lease is dropped.
//!
//! A lease lives in memory only. One process owns the store; when it dies, so does whatever the lease was for, and what
//! it wrote is garbage.

use std::collections::{BTreeMap, HashMap};

use spec::Digest;

use crate::error::Result;
use crate::{Store, lock};

/// Keeps blobs and layers from the collector while a pull, build or load is under way. Dropped: released.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    number: u64,
}

/// The live leases, and what was touched since the oldest began.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Counts leases and touches: a touch later than a lease's number is held by it.
    counter: u64,
    live: BTreeMap<u64, String>,
    /// Blobs and chain ids, with the time of the last touch.
    touched: HashMap<Digest, u64>,
}

impl Holds {
    fn release(&mut self, number: u64) {
        self.live.remove(&number);
        match self.live.first_key_value() {
            Some((&oldest, _)) => self.touched.retain(|_, at| *at > oldest),
            None => self.touched = HashMap::new(),
        }
    }
}

impl Store {
    /// Holds everything written, and everything looked up, from now on until the lease is dropped. `what` is for people.
    ///
    /// # Errors
    /// None today: a lease in a file could not be written.
    pub fn lease(&self, what: &str) -> Result<Lease> {
        // A sweep under way must be over: what it removes next must not be found after this returns.
        let _shared = self.shared();
        let mut holds = lock(&self.inner.holds);
        holds.counter += 1;
        let number = holds.counter;
        holds.live.insert(number, what.to_owned());
        Ok(Lease { store: self.clone(), number })
    }

    /// Notes that a blob or layer was written or found, for the leases that are live.
    pub(crate) fn hold(&self, digest: Digest) {
        let mut holds = lock(&self.inner.holds);
        if !holds.live.is_empty() {
            holds.counter += 1;
            let now = holds.counter;
            holds.touched.insert(digest, now);
        }
    }

    /// What leases hold.
    pub(crate) fn held(&self) -> Vec<Digest> {
        lock(&self.inner.holds).touched.keys().copied().collect()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        lock(&self.store.inner.holds).release(self.number);
    }
}
