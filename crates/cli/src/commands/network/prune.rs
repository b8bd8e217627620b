//! `corten network prune`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::prune::PruneFlags;
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.\n\
                       Are you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    flags: PruneFlags,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove all unused networks";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(WARNING)? {
            return Ok(0);
        }
        let deleted = app.client().await?.network_prune(&self.flags.filters(app)?).await?.networks_deleted;
        if !deleted.is_empty() {
            print::out(format!("Deleted Networks:\n{}\n\n", deleted.join("\n")));
        }
        Ok(0)
    }
}
