//! `corten context show`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Show {}

impl Verb for Show {
    const USAGE: &'static str = "";
    const ABOUT: &'static str = "Print the name of the current context";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        print::line(app.context()?);
        Ok(0)
    }
}
