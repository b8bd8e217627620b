//! `corten image layers`: what each layer of an image adds, changes, removes and wastes.

use std::ops::RangeInclusive;

use spec::api::{ImageLayer, ImageLayers, LayerTally};

use crate::app::App;
use crate::error::{Error, Result};
use crate::list::{Kind, ellipsis, row, short_id};
use crate::verb::Verb;
use crate::{print, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Layers {
    /// List the files of each layer
    #[arg(long)]
    files: bool,
    /// Format output with a template, "table TEMPLATE" or "json" (the whole report)
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Explore this platform's image (os[/arch[/variant]])
    #[arg(long, default_value = "")]
    platform: String,
    image: Vec<String>,
}

const KIND: Kind = Kind {
    table: "table {{.ID}}\t{{.Size}}\t{{.Added}}\t{{.Changed}}\t{{.Removed}}\t{{.Wasted}}\t{{.CreatedBy}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "LAYER"),
        ("Size", "SIZE"),
        ("Added", "ADDED"),
        ("Changed", "CHANGED"),
        ("Removed", "REMOVED"),
        ("Wasted", "WASTED"),
        ("CreatedBy", "CREATED BY"),
    ],
};
/// Wasteful paths that are shown.
const MOST_WASTED: usize = 10;

impl Verb for Layers {
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ABOUT: &'static str = "Show what each layer of an image adds, changes, removes and wastes";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let platform = super::push::platform_json(&self.platform);
        let client = app.client().await?;
        let bytes = client.image_layers_raw(&self.image[0], &platform, self.files).await?;
        if self.format.as_deref() == Some("json") {
            print::line(String::from_utf8_lossy(&bytes).trim_end());
            return Ok(0);
        }
        let report: ImageLayers = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(format!("the daemon's answer cannot be read: {error}")))?;
        let rows = report.layers.iter().map(|layer| self.row(layer));
        KIND.show(self.format.as_deref(), None, false, rows)?;
        if self.format.is_none() {
            print::out(summary(&report));
        }
        if self.files {
            print::out(files(&report));
        }
        Ok(0)
    }
}

impl Layers {
    fn row(&self, layer: &ImageLayer) -> crate::json::Json {
        let by = layer.created_by.replace('\t', " ");
        row(vec![
            ("Added", tally(&layer.added).into()),
            ("Changed", tally(&layer.changed).into()),
            ("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, 45) }.into()),
            ("DiffID", layer.diff_id.as_str().into()),
            ("ID", if self.no_trunc { &layer.digest } else { short_id(&layer.digest) }.into()),
            ("Removed", tally(&layer.removed).into()),
            ("Size", size(layer.size).into()),
            ("Wasted", tally(&layer.wasted).into()),
        ])
    }
}

/// `12 (3.4MB)`
fn tally(tally: &LayerTally) -> String {
    if tally.files == 0 { "-".into() } else { format!("{} ({})", tally.files, size(tally.bytes)) }
}

fn size(bytes: u64) -> String {
    units::human_size_3(bytes.cast_signed())
}

/// What is wasted in all, and by what.
fn summary(report: &ImageLayers) -> String {
    let (wasted, all) = (report.wasted_bytes, report.bytes);
    let share = if all > 0 { u128::from(wasted) * 1000 / u128::from(all) } else { 0 };
    let mut text = format!("\nWasted: {} of {} ({}.{}%)\n", size(wasted), size(all), share / 10, share % 10);
    let mut table = String::from("TIMES\tWASTED\tPATH\n");
    for waste in report.wasted.iter().take(MOST_WASTED) {
        table.push_str(&format!("{}\t{}\t{}\n", waste.times, size(waste.bytes), waste.path));
    }
    if !report.wasted.is_empty() {
        text.push_str(&crate::table::align(&table));
    }
    if report.wasted.len() > MOST_WASTED {
        text.push_str(&format!("and {} more\n", report.wasted.len() - MOST_WASTED));
    }
    text
}

/// Each layer's changes, as `diff` writes them.
fn files(report: &ImageLayers) -> String {
    let mut text = String::new();
    for layer in &report.layers {
        text.push_str(&format!("\n{} {}\n", short_id(&layer.digest), layer.created_by));
        for change in &layer.changes {
            let letter = ['C', 'A', 'D'].get(usize::from(change.kind)).unwrap_or(&'?');
            text.push_str(&format!("{letter} {} {}\n", change.path, size(change.bytes)));
        }
    }
    text
}
