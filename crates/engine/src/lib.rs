//! Docker's behaviour without HTTP: containers, execs, images, networks, volumes, events.
//!
//! | room | what is in it |
//! |---|---|
//! | [`engine`] | holds the services; no verb of its own |
//! | `container/` | one file per verb: create start stop kill … |
//! | `image/`, `network`, `volume` | the same for the other nouns |
//! | [`error`] | every text a user reads |
//!
//! ```text
//! <data root>/containers/<id>/config.json   what the user asked for (fsync)
//!                             state.json    last known state (rename, no fsync)
//!                             exit.json     written by the shim only
//!                             <id>-json.log, hostname, hosts, resolv.conf
//!             volumes/<name>/_data, meta.json
//! <exec root>/shim/<id>/shim.sock
//! ```

pub mod engine;
pub mod error;

pub use engine::{Config, Engine};
pub use error::Error;
