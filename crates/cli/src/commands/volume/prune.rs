//! `corten volume prune`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::prune::{confirm, reclaimed};
use crate::error::Result;
use crate::flags::filter;
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
    /// Remove only what matches (e.g. "label=<label>")
    #[arg(long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove unused local volumes";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.force && !confirm(if self.all { ALL } else { ANONYMOUS })? {
            return Ok(0);
        }
        let mut filters = filter::filters(&self.filter)?;
        if self.all {
            filters.add("all", "true");
        }
        let pruned = app.client().await?.volume_prune(&filters).await?;
        print::out(reclaimed("Deleted Volumes:", &pruned.volumes_deleted, pruned.space_reclaimed));
        Ok(0)
    }
}
