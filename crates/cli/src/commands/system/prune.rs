//! `corten system prune`, and what the other prunes share.

use std::io::BufRead as _;
use std::ops::RangeInclusive;

use spec::Filters;
use spec::api::ImageDeleteResponseItem;

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::filter;
use crate::json::Json;
use crate::verb::Verb;
use crate::{print, units};

/// The flags of every prune.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneFlags {
    /// Remove only what matches (e.g. "until=24h", "label=<key>=<value>")
    #[arg(long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Do not ask for confirmation
    #[arg(short, long)]
    force: bool,
}

impl PruneFlags {
    /// Whether the user agrees, now or by `--force`.
    pub(crate) fn agreed(&self, question: &str) -> Result<bool> {
        Ok(self.force || confirm(question)?)
    }

    /// The filters of the command line, and those that the user's configuration adds to every prune.
    pub(crate) fn filters(&self, app: &App) -> Result<Filters> {
        let given = |word: &str| self.filter.iter().any(|filter| filter == word);
        let mut words = self.filter.clone();
        words.extend(app.config()?.list("pruneFilters").into_iter().filter(|w| !given(w)).map(str::to_owned));
        filter::filters(&words)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Remove all unused images, not just dangling ones
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    flags: PruneFlags,
    /// Remove anonymous volumes too
    #[arg(long)]
    volumes: bool,
}

impl Verb for Prune {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Remove unused data";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if !self.flags.agreed(&self.warning())? {
            return Ok(0);
        }
        let filters = self.flags.filters(app)?;
        let client = app.client().await?;
        let mut total = 0;
        let mut out = String::new();
        let containers = client.container_prune(&filters).await?;
        total += containers.space_reclaimed;
        section(&mut out, "Deleted Containers:", &containers.containers_deleted);
        section(&mut out, "Deleted Networks:", &client.network_prune(&filters).await?.networks_deleted);
        if self.volumes {
            let volumes = client.volume_prune(&filters).await?;
            total += volumes.space_reclaimed;
            section(&mut out, "Deleted Volumes:", &volumes.volumes_deleted);
        }
        let mut of_images = filters.clone();
        of_images.add("dangling", if self.all { "false" } else { "true" });
        let images = client.image_prune(&of_images).await?;
        total += images.space_reclaimed;
        section(&mut out, "Deleted Images:", &deleted_images(&images.images_deleted));
        let cache = client.build_prune_raw(self.all, client::CacheRoom::default(), &filters).await?;
        let cache = Json::parse(&cache).unwrap_or(Json::Null);
        total += cache.int(&["SpaceReclaimed"]);
        section(&mut out, "Deleted build cache objects:", &texts(cache.items(&["CachesDeleted"])));
        out.push_str(&format!("Total reclaimed space: {}\n", units::human_size(total)));
        print::out(out);
        Ok(0)
    }
}

impl Prune {
    fn warning(&self) -> String {
        let volumes =
            if self.volumes { "  - all anonymous volumes not used by at least one container\n" } else { "" };
        let (images, cache) = match self.all {
            true => ("all images without at least one container associated to them", "all build cache"),
            false => ("all dangling images", "unused build cache"),
        };
        let filters = match self.flags.filter.is_empty() {
            true => String::new(),
            false => format!(
                "\n  Items to be pruned will be filtered with:\n{}",
                self.flags.filter.iter().map(|f| format!("  - {f}\n")).collect::<String>()
            ),
        };
        format!(
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one \
             container\n{volumes}  - {images}\n  - {cache}\n{filters}\nAre you sure you want to continue?"
        )
    }
}

/// Asks; only `y` and `yes` agree.
fn confirm(question: &str) -> Result<bool> {
    print::out(format!("{question} [y/N] "));
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|source| Error::Io { what: "cannot read the answer", source })?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// What was deleted, and how much room that made.
pub(crate) fn reclaimed(title: &str, names: &[String], bytes: i64) -> String {
    let mut out = String::new();
    section(&mut out, title, names);
    out.push_str(&format!("Total reclaimed space: {}\n", units::human_size(bytes)));
    out
}

fn section(out: &mut String, title: &str, names: &[String]) {
    if !names.is_empty() {
        out.push_str(&format!("{title}\n{}\n\n", names.join("\n")));
    }
}

/// Deleted images as lines.
pub(crate) fn deleted_images(items: &[ImageDeleteResponseItem]) -> Vec<String> {
    items
        .iter()
        .map(|item| match item.deleted.as_str() {
            "" => format!("untagged: {}", item.untagged),
            deleted => format!("deleted: {deleted}"),
        })
        .collect()
}

/// The texts of a list.
pub(crate) fn texts(items: &[Json]) -> Vec<String> {
    items.iter().map(|item| item.text(&[]).to_owned()).collect()
}
