//! `corten network ls`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::flags::filter;
use crate::list::{Kind, labels, row, short_id};
use crate::time;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show only what matches (e.g. "driver=bridge")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display network IDs
    #[arg(short, long)]
    quiet: bool,
}

const KIND: Kind = Kind {
    table: "table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ],
};

impl Verb for List {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "List networks";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let configured = app.config()?.text("networksFormat");
        let mut networks = app.client().await?.network_list(&filter::filters(&self.filter)?).await?;
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = networks.iter().map(|network| {
            let (labels_text, labels_map) = labels(&network.labels);
            let id = if self.no_trunc { &network.id } else { short_id(&network.id) };
            row(vec![
                ("CreatedAt", time::full_nano(&network.created).into()),
                ("Driver", network.driver.as_str().into()),
                ("ID", id.into()),
                ("IPv4", network.enable_ipv4.to_string().into()),
                ("IPv6", network.enable_ipv6.to_string().into()),
                ("Internal", network.internal.to_string().into()),
                ("Labels", labels_text),
                ("Name", network.name.as_str().into()),
                ("Scope", network.scope.as_str().into()),
                ("\0labels", labels_map),
            ])
        });
        KIND.show(self.format.as_deref(), configured, self.quiet, rows)?;
        Ok(0)
    }
}
