//! What the service manager is told (sd_notify(3)), and that this process is not stuck (its watchdog).

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The way to the service manager; to nobody, when there is none.
#[derive(Debug)]
pub struct Manager(Option<(UnixDatagram, SocketAddr)>);

impl Manager {
    /// The one that the environment names.
    pub fn from_env() -> Self {
        let open = |name: String| {
            let address = match name.strip_prefix('@') {
                Some(name) => SocketAddr::from_abstract_name(name).ok()?,
                None => SocketAddr::from_pathname(&name).ok()?,
            };
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        };
        Self(std::env::var("NOTIFY_SOCKET").ok().filter(|n| !n.is_empty()).and_then(open))
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.0 else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, state, "the service manager was not told");
        }
    }

    /// Clients are served.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`ready`](Self::ready) follows.
    pub fn reloading(&self) {
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", sys::clock::monotonic().as_micros()));
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// Tells for ever that this process lives, twice as often as the service manager wants to hear it; at once done
    /// when it does not want to. Run by the same threads that serve clients: when they are stuck, it falls silent.
    pub async fn watchdog(&self) {
        let env = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let ours = env("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let Some(micros) = env("WATCHDOG_USEC").filter(|n| *n > 0 && ours) else { return };
        let mut tick = tokio::time::interval(Duration::from_micros(micros) / 2);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            self.tell("WATCHDOG=1");
        }
    }
}
