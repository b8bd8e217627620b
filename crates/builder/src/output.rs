//! What the client sees: the classic builder's lines.

use spec::api::Progress;
use tokio::sync::mpsc::Sender;

use crate::error::{Error, Result};

/// The way to the client.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    sender: Sender<Progress>,
    quiet: bool,
}

impl Output {
    /// To this channel; `quiet` drops everything but the last line.
    pub(crate) fn new(sender: Sender<Progress>, quiet: bool) -> Self {
        Self { sender, quiet }
    }

    /// A line.
    pub(crate) async fn line(&self, text: impl Into<String>) -> Result<()> {
        let mut text = text.into();
        text.push('\n');
        if self.quiet { Ok(()) } else { self.send(Progress::stream(text)).await }
    }

    /// The result: always sent.
    pub(crate) async fn send(&self, progress: Progress) -> Result<()> {
        self.sender.send(progress).await.map_err(|_| Error::Cancelled)
    }

    /// A piece of a RUN's output, from a thread that may wait.
    pub(crate) fn blocking(&self, text: String) -> Result<()> {
        if self.quiet {
            return if self.sender.is_closed() { Err(Error::Cancelled) } else { Ok(()) };
        }
        self.sender.blocking_send(Progress::stream(text)).map_err(|_| Error::Cancelled)
    }

    /// For a pull's status lines; quiet builds hear none of them.
    pub(crate) fn pull(&self) -> Sender<Progress> {
        if !self.quiet {
            return self.sender.clone();
        }
        let (sender, mut receiver) = tokio::sync::mpsc::channel(16);
        tokio::spawn(async move { while receiver.recv().await.is_some() {} });
        sender
    }
}
