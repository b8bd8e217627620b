//! `corten container prune`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::prune::{PruneFlags, reclaimed};
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

/// What the user is asked.
const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    flags: PruneFlags,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove all stopped containers";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(WARNING)? {
            return Ok(0);
        }
        let pruned = app.client().await?.container_prune(&self.flags.filters(app)?).await?;
        print::out(reclaimed("Deleted Containers:", &pruned.containers_deleted, pruned.space_reclaimed));
        Ok(0)
    }
}
