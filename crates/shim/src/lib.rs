//! One small process per container: it holds the container's stdio, writes its log, reaps, runs execs and
//! leaves the exit record, whether cortend is alive or not.
//!
//! | room | what is in it |
//! |---|---|
//! | [`proto`] | the messages between cortend and a shim |
//! | [`client`] | the daemon's end: spawn, connect, call (blocking) |
//! | `built_in` | the default seccomp profile, compiled once for many starts |
//! | [`promise`] | what is still being made when a shim begins |
//! | [`message`] | how a message and its file descriptors go over a socket |
//! | [`log`] | the json-file format: write, rotate, read back |
//!
//! The program, `corten-shim <id> --dir <dir>`, is in `main.rs` and `supervisor/`; that it copies itself, in `template.rs`.
//!
//! ```text
//! <dir>/shim.sock        where a new daemon connects (dir is 0700)
//!       shim.log         the reason, if the shim itself has failed
//! <exit_file>            the exit record, once the log is complete
//! <log>, <log>.1 …       the container's output
//! ```

#![deny(missing_docs)]

mod built_in;
pub mod client;
pub mod log;
pub mod message;
pub mod promise;
pub mod proto;

pub use built_in::{built_in_filter, filter};
/// For the cgroup of a container whose shim was killed.
pub use runtime::stop_scope;
