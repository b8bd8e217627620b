//! `corten login`, `corten logout`, `corten search`, `corten registry …`.

pub(crate) mod check;
pub(crate) mod gc;
pub(crate) mod login;
pub(crate) mod search;
pub(crate) mod serve;

use std::os::unix::process::CommandExt as _;

use crate::error::{Error, Result};

/// Becomes `cortend registry <verb>` with the same options.
#[allow(clippy::disallowed_methods, reason = "the registry server is part of the daemon's program")]
fn become_daemon(verb: &str, options: &[String]) -> Result<u8> {
    let daemon = crate::autostart::find_daemon()
        .ok_or_else(|| Error::invalid("cortend is neither beside corten nor in PATH"))?;
    let error = std::process::Command::new(&daemon).args(["registry", verb]).args(options).exec();
    Err(Error::file("cannot run", daemon)(error))
}
