//! `corten registry serve`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
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
    const TELLS_OPTIONS: Option<fn() -> Result<u8>> =
        Some(|| super::become_daemon("serve", &["--help".to_owned()]));

    async fn run(self, _: &App) -> Result<u8> {
        super::become_daemon("serve", &self.options)
    }
}
