//! `cortend`: configuration, wiring, and the Engine API over HTTP. It decides nothing: a handler decodes a request,
//! calls the engine, and writes the answer down.
//!
//! | room | what is in it |
//! |---|---|
//! | [`config`] | the command line, and what it means |
//! | [`lock`] | one daemon per data root |
//! | [`listen`] | sockets: made, owned, removed |
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
//! | [`registry`] | `cortend registry serve` |
//!
//! ```text
//! <data root>/cortend.lock   held while a daemon runs; its text is the pid
//!             tmp/           bodies and build contexts in flight; emptied at start
//! <exec root>/corten.sock    the API
//! ```

pub mod api;
pub mod body;
pub mod config;
pub mod context;
pub mod error;
mod hello;
pub mod listen;
pub mod lock;
pub mod query;
pub mod registry;
pub mod rewind;
pub mod router;
pub mod server;
pub mod stream;
pub mod versions;
pub mod wire;
pub mod ws;
