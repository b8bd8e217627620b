//! `corten volume rm`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::container::each;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Force the removal of one or more volumes
    #[arg(short, long)]
    force: bool,
    volumes: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ABOUT: &'static str =
        "Remove one or more volumes. You cannot remove a volume that is in use by a container.";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, force) = (app.client().await?, self.force);
        each(&self.volumes, |name| async move {
            client.volume_remove(&name, force).await?;
            Ok(name)
        })
        .await
    }
}
