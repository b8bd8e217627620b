//! `corten search`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::credentials::HUB;
use crate::error::{Error, Result};
use crate::flags::filter;
use crate::json::Json;
use crate::list::{Kind, ellipsis, row};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// Show only what matches (e.g. "stars=3")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Maximum number of search results
    #[arg(long, default_value = "0", value_name = "int")]
    limit: i64,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    term: Vec<String>,
}

const KIND: Kind = Kind {
    table: "table {{.Name}}\t{{.Description}}\t{{.StarCount}}\t{{.IsOfficial}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("StarCount", "STARS"),
        ("IsOfficial", "OFFICIAL"),
    ],
};

impl Verb for Search {
    const USAGE: &'static str = "[OPTIONS] TERM";
    const ABOUT: &'static str = "Search Docker Hub for images";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let filters = filter::filters(&self.filter)?;
        let term = &self.term[0];
        let first = term.split('/').next().unwrap_or_default();
        let server = if first != term && first.contains(['.', ':']) { first } else { HUB };
        let auth = app.config()?.encoded(server);
        let bytes = app.client().await?.search_raw(term, self.limit, &filters, &auth).await?;
        let found = Json::parse(&bytes)
            .map_err(|error| Error::invalid(format!("the daemon's answer is no JSON: {error}")))?;
        let mut items: Vec<&Json> = found.items(&[]).iter().collect();
        items.sort_by_key(|item| std::cmp::Reverse(item.int(&["star_count"])));
        let rows = items.into_iter().map(|item| {
            let description = item.text(&["description"]).replace(['\n', '\r'], " ");
            let description = if self.no_trunc { description } else { ellipsis(&description, 45) };
            let official = if item.flag(&["is_official"]) { "[OK]" } else { "" };
            row(vec![
                ("Description", description.into()),
                ("IsOfficial", official.into()),
                ("Name", item.text(&["name"]).into()),
                ("StarCount", item.int(&["star_count"]).to_string().into()),
            ])
        });
        KIND.show(self.format.as_deref(), None, false, rows)?;
        Ok(0)
    }
}
