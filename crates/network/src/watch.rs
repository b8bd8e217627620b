//! Putting our table back when someone else has changed it: a reload of the host's firewall, say. A flushed table
//! would leave bridges open to each other and published ports dead. And seeing to it that we pass the chains of others.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use sys::netlink::nft::{Change, Watch};

use crate::networks::Core;
use crate::{Error, firewall};

/// The thread that watches.
#[derive(Debug)]
pub(crate) struct Watcher {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub(crate) fn start(core: Arc<Core>) -> Result<Self, Error> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(|e| Error::Kernel {
            step: "make eventfd",
            object: "firewall watch".into(),
            source: e.into(),
        })?;
        let stop = Arc::new(stop);
        let mut watch = Watch::open(core.firewall.table(), firewall::USER)?;
        let thread = {
            let stop = Arc::clone(&stop);
            std::thread::Builder::new().name("firewall-watch".into()).spawn(move || {
                // An error of the watch itself ends it: the table is still checked at every change of ours.
                while let Ok(Some(change)) = watch.wait(|port| core.firewall.is_own(port), &*stop) {
                    // If these fail, the next change of ours tries again, and its caller sees the error.
                    if change == Change::Ours {
                        let _ = core.install_firewall();
                    }
                    let _ = core.allow_through_host();
                }
            })
        };
        let thread = thread.map_err(|source| Error::Kernel {
            step: "start thread",
            object: "firewall-watch".into(),
            source,
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // It fails only when the counter is full: it is readable then.
        let _ = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}
