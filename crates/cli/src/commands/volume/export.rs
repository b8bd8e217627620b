//! `corten volume export`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::container::{export, need_corten};
use crate::commands::image::save;
use crate::error::Result;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Export it even while a container writes to it
    #[arg(short, long)]
    force: bool,
    /// Write to a file, instead of STDOUT
    #[arg(short, long, default_value = "")]
    output: String,
    volume: Vec<String>,
}

impl Verb for Export {
    const USAGE: &'static str = "[OPTIONS] VOLUME";
    const ABOUT: &'static str = "Export a volume's content as a tar archive (Corten only)";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        export::check(&self.output, "volume")?;
        let client = app.client().await?;
        need_corten(client, "exporting a volume").await?;
        let body = client.volume_export(&self.volume[0], self.force).await?;
        save::write(body, &self.output).await
    }
}
