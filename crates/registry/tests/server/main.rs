//! The server: the protocol, and what a team needs around it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod bucket;
mod cache;
mod collect;
mod events;
mod protocol;
mod rights;
mod show;
