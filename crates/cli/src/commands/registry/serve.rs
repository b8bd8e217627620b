//! `corten registry serve`.

use std::ops::RangeInclusive;
use std::os::unix::process::CommandExt as _;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    #[arg(allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Verb for Serve {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Serve images over the registry protocol (the options are cortend's)";
    const WORDS: RangeInclusive<usize> = 0..=MANY;
    const OPTIONS_FIRST: bool = true;

    /// Becomes `cortend registry serve` with the same options.
    #[allow(clippy::disallowed_methods, reason = "the registry server is part of the daemon's program")]
    async fn run(self, _: &App) -> Result<u8> {
        let daemon = crate::autostart::find_daemon()
            .ok_or_else(|| Error::invalid("cortend is neither beside corten nor in PATH"))?;
        let error =
            std::process::Command::new(&daemon).args(["registry", "serve"]).args(&self.options).exec();
        Err(Error::file("cannot run", daemon)(error))
    }
}
