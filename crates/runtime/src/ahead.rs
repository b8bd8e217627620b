//! What a container needs that is made while its caller makes its cgroups.

use std::fmt;
use std::os::fd::OwnedFd;

use spec::oci::runtime::Spec;
use sys::mount::Mount;
use sys::netns::Making;

use crate::failure::at;
use crate::{Failure, namespaces};

/// Waits until all of it is there.
type Wait = Box<dyn FnOnce() -> Result<Promised, Failure>>;

/// What somebody else makes for the container.
#[derive(Debug, Default)]
pub struct Promised {
    /// The root's mount, attached nowhere; without it, init makes the root.
    pub root: Option<Mount>,
    /// The network namespace to join; overrides the path in the configuration.
    pub network: Option<OwnedFd>,
}

#[derive(Debug, Default)]
enum Network {
    /// It needs none that is made ahead.
    #[default]
    None,
    Making(Making),
    /// It comes with the rest that is waited for.
    Promised,
}

/// What a container needs, begun while its caller does something else. Nothing is left when it is dropped.
#[derive(Default)]
pub struct Ahead {
    network: Network,
    promised: Option<Wait>,
}

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promised = self.promised.is_some();
        f.debug_struct("Ahead").field("network", &self.network).field("promised", &promised).finish()
    }
}

impl Ahead {
    /// Begins with what takes the kernel longest. A copy that the caller makes of itself before
    /// [`create_ahead`](crate::create_ahead) may keep what comes of it.
    ///
    /// # Errors
    /// Step `namespace`.
    pub fn begin(spec: &Spec) -> Result<Self, Failure> {
        let mut ahead = Self::default();
        ahead.begin_missing(spec)?;
        Ok(ahead)
    }

    /// Somebody else makes the root ([`EarlyRoot`](crate::EarlyRoot)), the network namespace if `network`, or files of the host, and
    /// has done so when `wait` returns, which is asked before the container's first process is made.
    pub fn promise(&mut self, network: bool, wait: Wait) {
        if network {
            self.network = Network::Promised;
        }
        self.promised = Some(wait);
    }

    /// Whether a network namespace comes with what is promised.
    pub(crate) fn promises_network(&self) -> bool {
        matches!(self.network, Network::Promised)
    }

    pub(crate) fn begin_missing(&mut self, spec: &Spec) -> Result<(), Failure> {
        if matches!(self.network, Network::None) && namespaces::makes_network(spec) {
            self.network = Network::Making(Making::begin().map_err(at("namespace"))?);
        }
        Ok(())
    }

    /// A hold on the network namespace, and the root's mount, attached nowhere.
    pub(crate) fn finish(self) -> Result<(Option<OwnedFd>, Option<Mount>), Failure> {
        let promised = self.promised.map_or_else(|| Ok(Promised::default()), |wait| wait())?;
        let network = match self.network {
            Network::None => None,
            Network::Making(making) => Some(making.finish().map_err(at("namespace"))?),
            Network::Promised => {
                let missing = || Failure::new("namespace", "network", "none came with what was promised");
                Some(promised.network.ok_or_else(missing)?)
            }
        };
        Ok((network, promised.root))
    }
}
