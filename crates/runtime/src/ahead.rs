//! What a container needs that is made while its caller makes its cgroups.

use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};

use spec::oci::runtime::Spec;
use sys::mount::Mount;
use sys::netns::Making;

use crate::failure::at;
use crate::{Failure, namespaces};

/// Waits until everything of the host's is there; gives the root's mount, if that is made.
type Wait = Box<dyn FnOnce() -> Result<Option<Mount>, Failure>>;

/// What a container needs, begun while its caller does something else. Nothing is left when it is dropped.
#[derive(Default)]
pub struct Ahead {
    network: Option<Making>,
    root: Option<Wait>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let root = self.root.is_some();
        f.debug_struct("Ahead").field("network", &self.network).field("root", &root).finish()
    }
}

impl Ahead {
    /// Begins with what takes the kernel longest. A copy that the caller makes of itself before
    /// [`create_ahead`](crate::create_ahead) may keep what comes of it.
    ///
    /// # Errors
    /// Step `namespace`.
    pub fn begin(spec: &Spec, netns: Option<BorrowedFd<'_>>) -> Result<Self, Failure> {
        let mut ahead = Self::default();
        ahead.begin_missing(spec, netns)?;
        Ok(ahead)
    }

    /// Somebody else makes the root ([`EarlyRoot`](crate::EarlyRoot)) or other files of the host, and has done so when `wait`
    /// returns, which is asked before the container's first process is made.
    pub fn await_root(&mut self, wait: Wait) {
        self.root = Some(wait);
    }

    pub(crate) fn begin_missing(
        &mut self,
        spec: &Spec,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<(), Failure> {
        if self.network.is_none() && namespaces::makes_network(spec, netns) {
            self.network = Some(Making::begin().map_err(at("namespace"))?);
        }
        Ok(())
    }

    /// A hold on the network namespace, and the root's mount, attached nowhere.
    pub(crate) fn finish(self) -> Result<(Option<OwnedFd>, Option<Mount>), Failure> {
        let root = self.root.map(|wait| wait()).transpose()?.flatten();
        let network = self.network.map(Making::finish).transpose().map_err(at("namespace"))?;
        Ok((network, root))
    }
}
