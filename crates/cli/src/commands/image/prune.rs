//! `corten image prune`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::prune::{PruneFlags, deleted_images, reclaimed};
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

const DANGLING: &str = "WARNING! This will remove all dangling images.\nAre you sure you want to continue?";
const UNUSED: &str = "WARNING! This will remove all images without at least one container associated to them.\n\
                      Are you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove unused images";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(if self.all { UNUSED } else { DANGLING })? {
            return Ok(0);
        }
        let mut filters = self.flags.filters(app)?;
        filters.add("dangling", if self.all { "false" } else { "true" });
        let pruned = app.client().await?.image_prune(&filters).await?;
        print::out(reclaimed(
            "Deleted Images:",
            &deleted_images(&pruned.images_deleted),
            pruned.space_reclaimed,
        ));
        Ok(0)
    }
}
