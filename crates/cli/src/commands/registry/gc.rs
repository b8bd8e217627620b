//! `corten registry gc`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Gc {
    #[arg(allow_hyphen_values = true)]
    options: Vec<String>,
}

impl Verb for Gc {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str =
        "Remove what nobody refers to in a registry that is not being served (the options are cortend's)";
    const WORDS: RangeInclusive<usize> = 0..=MANY;
    const OPTIONS_FIRST: bool = true;
    const TELLS_OPTIONS: Option<fn() -> Result<u8>> =
        Some(|| super::become_daemon("gc", &["--help".to_owned()]));

    async fn run(self, _: &App) -> Result<u8> {
        super::become_daemon("gc", &self.options)
    }
}
