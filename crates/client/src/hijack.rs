//! A connection that became a pipe: attach and exec.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};

use crate::Result;

/// The two halves of a hijacked connection.
#[derive(Debug)]
pub struct Hijacked {
    /// What the process writes.
    pub output: Output,
    /// What the process reads.
    pub input: Input,
    /// Whether output is framed; `None` from engines that do not say.
    pub multiplexed: Option<bool>,
}

/// The process's output.
#[derive(Debug)]
pub struct Output(ReadHalf<TokioIo<Upgraded>>);

/// The process's input. Dropping it leaves the input open; see [`Input::close`].
#[derive(Debug)]
pub struct Input(WriteHalf<TokioIo<Upgraded>>);

impl Hijacked {
    pub(crate) fn new(upgraded: Upgraded, multiplexed: Option<bool>) -> Self {
        let (read, write) = tokio::io::split(TokioIo::new(upgraded));
        Self { output: Output(read), input: Input(write), multiplexed }
    }
}

impl Output {
    /// Reads what is there, at most `buffer` bytes; 0 at the end.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        Ok(self.0.read(buffer).await?)
    }
}

impl Input {
    /// Sends bytes.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.0.write_all(bytes).await?;
        Ok(self.0.flush().await?)
    }

    /// Ends the process's input; its output goes on.
    ///
    /// # Errors
    /// The connection broke.
    pub async fn close(&mut self) -> Result<()> {
        Ok(self.0.shutdown().await?)
    }
}
