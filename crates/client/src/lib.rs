//! Typed Engine API client.
//!
//! A [`Client`] speaks to one engine, Corten's or Docker's, over a unix socket, TCP, TLS or ssh. It asks nothing in
//! advance: the first request carries the newest version we know, and only an engine that finds it too new costs
//! a second request (see [`version`](Client::api_version)).
//!
//! | room | what is in it |
//! |---|---|
//! | [`host`] | `unix://…`, `tcp://…`, `ssh://…`: where the engine is |
//! | [`tls`], `ssh`, `lookup` | the ways there that need more than a socket |
//! | [`error`] | what can go wrong, in the words the user sees |
//! | `connection` | one HTTP exchange: version, status, error bodies, reuse of idle connections |
//! | `descriptors` | directories that go along with a request, on the same machine |
//! | [`body`] | what is sent and received as a stream: uploads, chunks, lines of JSON |
//! | [`hijack`] | attach and exec: a connection that became a pipe |
//! | [`frames`] | stdout and stderr in one stream, taken apart |
//! | `container`, `exec`, `image`, `volume`, `network`, `system` | one method per endpoint |

#![warn(missing_docs)]

pub mod body;
mod connection;
mod container;
mod descriptors;
pub mod error;
mod exec;
pub mod frames;
pub mod hijack;
pub mod host;
mod image;
mod lookup;
mod network;
mod query;
mod ssh;
mod system;
pub mod tls;
mod volume;

pub use body::{Body, CHUNK, JsonLines, Upload, UploadWriter};
pub use connection::{Client, Options, Stream};
pub use container::{AttachOptions, LogOptions, WaitCondition, Waiting};
pub use error::{Error, Result};
pub use frames::Frames;
pub use hijack::Hijacked;
pub use host::{Host, SshHost};
pub use image::{BuildOptions, CommitOptions, ImportOptions};
pub use system::{CacheRoom, EventOptions};
pub use tls::Tls;
