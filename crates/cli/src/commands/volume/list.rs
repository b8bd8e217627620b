//! `corten volume ls`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::flags::filter;
use crate::list::{Kind, labels, row};
use crate::verb::Verb;
use crate::{print, units};

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show only what matches (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only display volume names
    #[arg(short, long)]
    quiet: bool,
}

const KIND: Kind = Kind {
    table: "table {{.Driver}}\t{{.Name}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Availability", "AVAILABILITY"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Labels", "LABELS"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Group", "GROUP"),
        ("Status", "STATUS"),
    ],
};

impl Verb for List {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "List volumes";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let configured = app.config()?.text("volumesFormat");
        let listed = app.client().await?.volume_list(&filter::filters(&self.filter)?).await?;
        for warning in &listed.warnings {
            print::err_line(format!("WARNING: {warning}"));
        }
        let mut volumes = listed.volumes;
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        let rows = volumes.iter().map(|volume| {
            let (labels_text, labels_map) = labels(&volume.labels);
            let usage = volume.usage_data.as_ref();
            row(vec![
                ("Availability", "N/A".into()),
                ("Driver", volume.driver.as_str().into()),
                ("Group", "N/A".into()),
                ("Labels", labels_text),
                ("Links", usage.map_or_else(|| "N/A".into(), |u| u.ref_count.to_string().into())),
                ("Mountpoint", volume.mountpoint.as_str().into()),
                ("Name", volume.name.as_str().into()),
                ("Scope", volume.scope.as_str().into()),
                ("Size", usage.map_or_else(|| "N/A".into(), |u| units::human_size(u.size).into())),
                ("Status", "N/A".into()),
                ("\0labels", labels_map),
            ])
        });
        KIND.show(self.format.as_deref(), configured, self.quiet, rows)?;
        Ok(0)
    }
}
