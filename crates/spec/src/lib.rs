//! The words of Corten: what the engine, its clients and its files say to each other.
//!
//! This room does no I/O, reads no clock and knows nothing of the host: it is types, their text forms, and the
//! constants that Docker and the Open Container Initiative fix.
//!
//! | room | what is in it |
//! |---|---|
//! | [`api`] | the Engine API's JSON objects, version 1.55 |
//! | [`oci`] | OCI image and runtime JSON |
//! | [`defaults`] | Docker's default capabilities, seccomp profile, masked paths |
//! | [`reference`] | image references and their short form |
//! | [`digest`], [`id`] | content digests, object ids |
//! | [`filters`] | the `filters` parameter of list endpoints |
//! | [`signal`] | signal names and numbers |
//! | [`size`] | sizes as people write them |
//! | [`git`] | addresses of git repositories |
//! | [`gojson`] | JSON read as Go reads it |
//! | [`duration`] | durations as Go and people write them |
//! | [`registry`] | what the command line asks of registries |
//! | [`error`] | the kind every error has, and its HTTP status |

#![deny(missing_docs)]

pub mod api;
pub mod defaults;
pub mod digest;
pub mod duration;
pub mod error;
pub mod filters;
pub mod git;
pub mod gojson;
pub mod id;
pub mod oci;
pub mod reference;
pub mod registry;
pub mod signal;
pub mod size;

pub use digest::Digest;
pub use error::ErrorKind;
pub use filters::Filters;
pub use id::Id;
pub use reference::Reference;
