//! `corten volume cp`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::container::need_corten;
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// Copy it even while a container writes to it
    #[arg(short, long)]
    force: bool,
    names: Vec<String>,
}

impl Verb for Copy {
    const USAGE: &'static str = "[OPTIONS] VOLUME NEW_VOLUME";
    const ABOUT: &'static str =
        "Make a new volume with the content and the labels of another one (Corten only)";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        need_corten(client, "copying a volume").await?;
        print::line(client.volume_copy(&self.names[0], &self.names[1], self.force).await?.name);
        Ok(0)
    }
}
