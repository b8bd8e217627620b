//! What takes the kernel longest, done while the caller makes the container's cgroups.

use std::os::fd::{BorrowedFd, OwnedFd};

use spec::oci::runtime::Spec;
use sys::netns::Making;

use crate::failure::at;
use crate::{Failure, namespaces};

/// What a container needs, begun while its caller does something else. Nothing is left when it is dropped.
#[derive(Debug, Default)]
pub struct Ahead {
    network: Option<Making>,
}

impl Ahead {
    /// Begins with it. A copy that the caller makes of itself before [`create_ahead`](crate::create_ahead) may keep what comes of it.
    ///
    /// # Errors
    /// Step `namespace`.
    pub fn begin(spec: &Spec, netns: Option<BorrowedFd<'_>>) -> Result<Self, Failure> {
        let makes = namespaces::makes_network(spec, netns);
        let network = makes.then(Making::begin).transpose().map_err(at("namespace"))?;
        Ok(Self { network })
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.network.is_some()
    }

    /// A hold on the network namespace.
    pub(crate) fn finish(self) -> Result<Option<OwnedFd>, Failure> {
        self.network.map(Making::finish).transpose().map_err(at("namespace"))
    }
}
