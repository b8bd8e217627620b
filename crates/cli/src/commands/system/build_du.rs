//! `corten builder du`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::json::Json;
use crate::verb::Verb;
use crate::{print, time, units};

#[derive(Debug, clap::Args)]
pub(crate) struct BuildDu {
    /// Show everything that is known of each
    #[arg(long)]
    verbose: bool,
}

impl Verb for BuildDu {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Show what the build cache takes on disk";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let answer = app.client().await?.disk_usage_raw().await?;
        let answer = Json::parse(&answer).unwrap_or(Json::Null);
        let mut out = String::new();
        let items = answer.items(&["BuildCache"]);
        if !self.verbose {
            out.push_str(&format!("{:<28}{:<12}{:<12}{}\n", "ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED"));
        }
        for item in items {
            let id = item.text(&["ID"]).trim_start_matches("sha256:");
            let size = units::human_size(item.int(&["Size"]));
            let reclaimable = !item.flag(&["InUse"]);
            let used = time::ago(time::seconds(item.text(&["LastUsedAt"])));
            if self.verbose {
                for (name, value) in [
                    ("ID", id),
                    ("Created at", item.text(&["CreatedAt"])),
                    ("Reclaimable", if reclaimable { "true" } else { "false" }),
                    ("Shared", if item.flag(&["Shared"]) { "true" } else { "false" }),
                    ("Size", &size),
                    ("Description", item.text(&["Description"])),
                    ("Usage count", &item.int(&["UsageCount"]).to_string()),
                    ("Last used", &used),
                    ("Type", item.text(&["Type"])),
                ] {
                    out.push_str(&format!("{:<16}{value}\n", format!("{name}:")));
                }
                out.push('\n');
            } else {
                let id: String = id.chars().take(25).collect();
                out.push_str(&format!("{id:<28}{reclaimable:<12}{size:<12}{used}\n"));
            }
        }
        let sum = |all: bool| {
            let counted = items.iter().filter(|item| all || !item.flag(&["InUse"]));
            units::human_size(counted.map(|item| item.int(&["Size"])).sum())
        };
        out.push_str(&format!("Reclaimable:\t{}\nTotal:\t\t{}\n", sum(false), sum(true)));
        print::out(out);
        Ok(0)
    }
}
