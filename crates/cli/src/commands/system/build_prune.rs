//! `corten builder prune`.

use std::ops::RangeInclusive;

use super::prune::{PruneFlags, reclaimed, texts};
use crate::app::App;
use crate::error::Result;
use crate::json::Json;
use crate::verb::Verb;
use crate::{print, units};

const DANGLING: &str =
    "WARNING! This will remove all dangling build cache. Are you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all build cache. Are you sure you want to continue?";

#[derive(Debug, clap::Args)]
pub(crate) struct BuildPrune {
    /// Remove all unused build cache, not just dangling ones
    #[arg(short, long)]
    all: bool,
    /// The most that the cache may take afterwards
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    max_used_space: i64,
    /// Remove as much as it takes for this to be free on the disk
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    min_free_space: i64,
    /// Amount of disk space to keep for cache
    #[arg(long, alias = "keep-storage", default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    reserved_space: i64,
    #[command(flatten)]
    flags: PruneFlags,
}

impl Verb for BuildPrune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove build cache";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(if self.all { ALL } else { DANGLING })? {
            return Ok(0);
        }
        let keep = client::CacheRoom {
            reserved: self.reserved_space,
            most: self.max_used_space,
            free: self.min_free_space,
        };
        let answer = app.client().await?.build_prune_raw(self.all, keep, &self.flags.filters(app)?).await?;
        let answer = Json::parse(&answer).unwrap_or(Json::Null);
        let deleted = texts(answer.items(&["CachesDeleted"]));
        print::out(reclaimed("Deleted build cache objects:", &deleted, answer.int(&["SpaceReclaimed"])));
        Ok(0)
    }
}
