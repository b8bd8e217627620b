//! What takes the kernel longest, done while the caller makes the container's cgroups. Its cost is not the container's, either:
//! pages of the file system's own tables that are touched for a new file would be charged to the container's memory cgroup, and
//! keep that alive long after the container.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

use spec::oci::runtime::{Overlay, Spec};
use sys::mount::{self, Mount};
use sys::netns::Making;

use crate::failure::at;
use crate::{Failure, mounts, namespaces, root};

/// The stack of a thread that makes a few hundred system calls.
const STACK: usize = 256 * 1024;

/// What a container needs, begun while its caller does something else. Nothing is left when it is dropped.
#[derive(Debug, Default)]
pub struct Ahead {
    network: Option<Making>,
    root: Option<MakingRoot>,
}

impl Ahead {
    /// Begins with it. A copy that the caller makes of itself before [`create_ahead`](crate::create_ahead) may keep what comes of it.
    ///
    /// # Errors
    /// Step `namespace`.
    pub fn begin(spec: &Spec, netns: Option<BorrowedFd<'_>>) -> Result<Self, Failure> {
        let makes = namespaces::makes_network(spec, netns);
        let network = makes.then(Making::begin).transpose().map_err(at("namespace"))?;
        Ok(Self { network, root: MakingRoot::begin(spec) })
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.network.is_some() || self.root.is_some()
    }

    /// A hold on the network namespace, and the root's mount, attached nowhere; when there was none to make, or it failed, init
    /// makes it, and says why it cannot. This process has no thread but the caller's when this returns.
    pub(crate) fn finish(self) -> Result<(Option<OwnedFd>, Option<Mount>), Failure> {
        let root = self.root.and_then(MakingRoot::finish);
        let network = self.network.map(Making::finish).transpose().map_err(at("namespace"))?;
        Ok((network, root))
    }
}

/// A thread that makes the root's mount, and in it what the other mounts are mounted on. Dropped, it is waited for.
#[derive(Debug)]
struct MakingRoot(Option<JoinHandle<Option<Mount>>>);

impl MakingRoot {
    /// `None` where init is better at it: with ids of its own, or for want of a kernel that makes an overlay without attaching it
    /// somewhere first.
    fn begin(spec: &Spec) -> Option<Self> {
        let overlay = spec.root.as_ref()?.overlay.as_ref()?;
        let plain = !overlay.idmap && !overlay.lower.is_empty() && !namespaces::is_staged(spec);
        if !plain || !mount::makes_overlays_unattached() {
            return None;
        }
        let (overlay, label): (Overlay, String) = (overlay.clone(), spec.linux.mount_label.clone());
        let points = spec.mounts.clone();
        let make = move || {
            let mount = root::overlay(&overlay, &label).ok()?;
            mounts::make_points(&mount, &points);
            Some(mount)
        };
        std::thread::Builder::new().stack_size(STACK).spawn(make).ok().map(|thread| Self(Some(thread)))
    }

    fn finish(mut self) -> Option<Mount> {
        self.wait()
    }

    fn wait(&mut self) -> Option<Mount> {
        self.0.take()?.join().ok()?
    }
}

impl Drop for MakingRoot {
    fn drop(&mut self) {
        drop(self.wait());
    }
}
