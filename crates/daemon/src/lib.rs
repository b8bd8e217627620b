//! `cortend`: configuration, wiring, and the Engine API over HTTP. It decides nothing: a handler decodes a request,
//! calls the engine, and writes the answer down.
//!
//! | room | what is in it |
//! |---|---|
//! | [`config`] | the command line and daemon.json, and what they mean |
//! | [`reload`] | daemon.json read again at SIGHUP |
//! | [`lock`] | one daemon per data root |
//! | [`listen`], [`activation`], [`tls`] | sockets: made, owned, removed; inherited; with TLS |
//! | `holder` | who has a socket that we want |
//! | [`notify`] | what the service manager is told |
//! | [`log`], [`metrics`] | the daemon's log; what Prometheus reads |
//! | [`server`] | connections: HTTP, then perhaps raw bytes |
//! | [`rewind`] | which HTTP a client speaks |
//! | [`router`] | method and path → [`router::Route`] |
//! | [`api`] | one file per noun, one function per route |
//! | [`versions`] | answers as older clients know them |
//! | [`query`], [`body`] | parameters and bodies, in and out |
//! | [`stream`], [`ws`] | attach and exec: bytes in both directions, raw and over a WebSocket |
//! | [`context`] | a build's context, unpacked |
//! | [`error`] | the failure's kind → status |
//! | [`wire`] | what clients were told, written down on request |
//! | `hello` | the image that ships inside |
//! | [`registry`], [`ask`] | `cortend registry serve`; registries for the command line |
//!
//! ```text
//! <data root>/cortend.lock   held while a daemon runs; its text is the pid
//!             tmp/           bodies and build contexts in flight; emptied at start
//! <exec root>/corten.sock    the API
//! ```

pub mod activation;
pub mod api;
pub mod ask;
pub mod body;
pub mod config;
pub mod context;
pub mod error;
mod hello;
mod holder;
pub mod listen;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod notify;
pub mod query;
pub mod registry;
pub mod reload;
pub mod rewind;
pub mod router;
pub mod server;
pub mod stream;
pub mod tls;
pub mod versions;
pub mod wire;
pub mod ws;
