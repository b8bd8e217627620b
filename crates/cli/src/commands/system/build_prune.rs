//! `corten builder prune`.

use std::ops::RangeInclusive;

use super::prune::{confirm, reclaimed, texts};
use crate::app::App;
use crate::error::Result;
use crate::flags::filter;
use crate::json::Json;
use crate::print;
use crate::verb::Verb;

const DANGLING: &str =
    "WARNING! This will remove all dangling build cache. Are you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all build cache. Are you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct BuildPrune {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// Remove only what matches (e.g. "until=24h")
    #[arg(long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

impl Verb for BuildPrune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove build cache";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.force && !confirm(if self.all { ALL } else { DANGLING })? {
            return Ok(0);
        }
        let answer = app.client().await?.build_prune_raw(self.all, &filter::filters(&self.filter)?).await?;
        let answer = Json::parse(&answer).unwrap_or(Json::Null);
        let deleted = texts(answer.items(&["CachesDeleted"]));
        print::out(reclaimed("Deleted build cache objects:", &deleted, answer.int(&["SpaceReclaimed"])));
        Ok(0)
    }
}
