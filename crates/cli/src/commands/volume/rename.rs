//! `corten volume rename`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::container::need_corten;
use crate::error::Result;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    names: Vec<String>,
}

impl Verb for Rename {
    const USAGE: &'static str = "VOLUME NEW_NAME";
    const ABOUT: &'static str = "Rename a volume that no container has (Corten only)";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        need_corten(client, "renaming a volume").await?;
        client.volume_rename(&self.names[0], &self.names[1]).await?;
        Ok(0)
    }
}
