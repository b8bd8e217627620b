//! Docker's behaviour without HTTP: containers, execs, images, networks, volumes, events.
//!
//! | room | what is in it |
//! |---|---|
//! | [`engine`] | holds the services; no verb of its own |
//! | [`container`] | one file per verb: create start stop kill … |
//! | `image/`, `network`, `volume` | the same for the other nouns |
//! | `events`, `system` | what happens; what this host is |
//! | `collect`, `usage` | what goes when nothing needs it, or the disk runs low; what takes space |
//! | [`settings`] | what the user sets for all containers; changed while it runs |
//! | [`error`] | every text a user reads |
//! | `blocking`, `chunks` | the one crossing to the blocking rooms below; bytes that come from there |
//! | `copy` | a directory's content as another directory's |
//! | `time`, `names` | times as people read them; names for containers that have none |
//!
//! ```text
//! <data root>/containers/<id>/config.json   what the user asked for (fsync)
//!                             state.json    last known state (rename, no fsync)
//!                             exit.json     written by the shim only
//!                             <id>-json.log when there is output
//!             volumes/<name>/_data, meta.json
//! <exec root>/containers/<id>/hostname, hosts, resolv.conf; of `--rm` also config.json, state.json, exit.json
//!             plugins/                      volume plugins, as in /run/docker/plugins
//! <exec root>/shim/<id>/shim.sock
//! ```
//!
//! Words: a *record* is what the user asked for; a *view* is the published, read-only face of a container; a *link* is
//! the connection to its shim; *early* clients attached before the start.

pub mod blocking;
mod calm;
mod chunks;
mod collect;
pub mod container;
mod copy;
pub mod engine;
pub mod error;
mod events;
mod image;
mod names;
mod network;
pub mod settings;
pub mod system;
mod time;
mod usage;
mod volume;

pub use collect::{Forget, FreeSpace};
pub use container::archive::{Encoding, Extraction};
pub use container::attach::{AttachOptions, Attached};
pub use container::exec::ExecStarting;
pub use container::{
    CommitOptions, Line, ListOptions, LogOptions, RemoveOptions, Stats, WaitCondition, Waiter,
};
pub use engine::{Config, Engine, Roots};
pub use error::Error;
pub use image::ImageListOptions;
pub use settings::Settings;
