//! `corten volume prune`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::prune::{PruneFlags, reclaimed};
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\n\
                         Are you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\n\
                   Are you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Remove all unused volumes, not just anonymous ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove unused local volumes";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(if self.all { ALL } else { ANONYMOUS })? {
            return Ok(0);
        }
        let mut filters = self.flags.filters(app)?;
        if self.all {
            filters.add("all", "true");
        }
        let pruned = app.client().await?.volume_prune(&filters).await?;
        print::out(reclaimed("Deleted Volumes:", &pruned.volumes_deleted, pruned.space_reclaimed));
        Ok(0)
    }
}
