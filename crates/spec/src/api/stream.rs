//! Engine API: the message streams of pull, push, load and build, and the frames of attach and logs.

use serde::{Deserialize, Serialize};

use super::*;

/// One line of a progress stream (`images/create`, `push`, `load`, `build`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Progress {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress_detail: Option<ProgressDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<serde_json::Value>,
}

impl Progress {
    /// A line of a build's output.
    pub fn stream(text: impl Into<String>) -> Self {
        Self { stream: Some(text.into()), ..Self::default() }
    }

    /// A status line without an id.
    pub fn status(text: impl Into<String>) -> Self {
        Self { status: Some(text.into()), ..Self::default() }
    }

    /// A status line about one layer or blob.
    pub fn of(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self { id: Some(id.into()), status: Some(text.into()), ..Self::default() }
    }

    /// The last line of a stream that failed.
    pub fn error(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            error_detail: Some(ErrorDetail { code: 0, message: message.clone() }),
            error: Some(message),
            ..Self::default()
        }
    }

    /// Bytes done of bytes in all, beside a status line.
    pub fn bytes(mut self, current: u64, total: u64) -> Self {
        self.progress_detail =
            Some(ProgressDetail { current: current.cast_signed(), total: total.cast_signed() });
        self
    }
}

/// Which standard stream a frame of a multiplexed stream belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stream {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// An error of the engine itself, sent in-band.
    System = 3,
}

impl Stream {
    /// The eight-byte header in front of `len` bytes of this stream.
    pub fn header(self, len: u32) -> [u8; 8] {
        let l = len.to_be_bytes();
        [self as u8, 0, 0, 0, l[0], l[1], l[2], l[3]]
    }

    /// Reads a header back: the stream and the payload's length; `None` for an unknown stream.
    pub fn parse(header: [u8; 8]) -> Option<(Self, u32)> {
        let stream = match header[0] {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::System,
            _ => return None,
        };
        Some((stream, u32::from_be_bytes([header[4], header[5], header[6], header[7]])))
    }
}
