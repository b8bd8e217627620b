//! `corten load`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::progress::{self, Output};
use crate::terminal;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Read from a tar archive file, instead of STDIN
    #[arg(short, long, default_value = "")]
    input: String,
    /// Load only this platform (e.g. "linux/amd64")
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

impl Verb for Load {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Load an image from a tar archive or STDIN";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let upload = match self.input.as_str() {
            "" if terminal::stdin_is_terminal() => {
                return Err(Error::invalid("requested load from stdin, but stdin is empty"));
            }
            "" => super::upload(std::io::stdin()),
            path => super::upload(std::fs::File::open(path).map_err(Error::file("open", path))?),
        };
        let platforms: Vec<_> = self.platform.iter().map(|p| super::push::platform_json(p)).collect();
        let quiet = self.quiet || !terminal::stdout_is_terminal();
        let lines = app.client().await?.image_load(quiet, &platforms, upload).await?;
        progress::show(lines, Output::Stdout, |_| {}).await?;
        Ok(0)
    }
}
