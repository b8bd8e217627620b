//! Signals sent to us are passed on to the container's process.

use std::convert::Infallible;

use client::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// What is passed on. Changes of the window's size are not: a program takes them for its own terminal's.
const PROXIED: [&str; 14] = [
    "HUP", "INT", "QUIT", "ABRT", "USR1", "USR2", "ALRM", "TERM", "CONT", "TSTP", "TTIN", "TTOU", "IO", "PWR",
];

/// Signals caught and not yet passed on.
#[derive(Debug)]
pub(crate) struct Signals(mpsc::UnboundedReceiver<&'static str>);

impl Signals {
    /// From now on, signals do not end us.
    pub(crate) fn catch() -> Self {
        let (queue, caught) = mpsc::unbounded_channel();
        for name in PROXIED {
            let number = spec::signal::parse(name).expect("the table holds names only");
            // A signal that cannot be caught keeps its default action.
            let Ok(signal) = signal(SignalKind::from_raw(number)) else { continue };
            tokio::spawn(relay(signal, name, queue.clone()));
        }
        Self(caught)
    }

    /// Passes signals on; never returns.
    pub(crate) async fn forward(&mut self, client: &Client, id: &str) -> Infallible {
        while let Some(name) = self.0.recv().await {
            // It may have ended between the signal and now.
            let _ = client.container_kill(id, name).await;
        }
        std::future::pending().await
    }
}

async fn relay(mut signal: Signal, name: &'static str, queue: mpsc::UnboundedSender<&'static str>) {
    while signal.recv().await.is_some() {
        if queue.send(name).is_err() {
            return;
        }
    }
}
