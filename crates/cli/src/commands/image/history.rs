//! `corten history`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::list::{Kind, ellipsis, row, short_id};
use crate::verb::Verb;
use crate::{time, units};

#[derive(Debug, clap::Args)]
pub(crate) struct History {
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show sizes and dates in a form people read
    #[arg(short = 'H', long, default_value_t = true)]
    human: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Show the history of this platform's image (os[/arch[/variant]])
    #[arg(long, default_value = "")]
    platform: String,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    image: Vec<String>,
}

const KIND: Kind = Kind {
    table: "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    quiet: "{{.ID}}",
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
};

impl Verb for History {
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ABOUT: &'static str = "Show the history of an image";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let items = app
            .client()
            .await?
            .image_history(&self.image[0], &super::push::platform_json(&self.platform))
            .await?;
        let rows = items.iter().map(|item| {
            let by = item.created_by.replace('\t', " ");
            let created = if self.human { time::ago(item.created) } else { time::rfc3339(item.created) };
            let size = if self.human { units::human_size_3(item.size) } else { item.size.to_string() };
            row(vec![
                ("Comment", item.comment.as_str().into()),
                ("CreatedAt", time::rfc3339(item.created).into()),
                ("CreatedBy", if self.no_trunc { by } else { ellipsis(&by, 45) }.into()),
                ("CreatedSince", if item.created == 0 && self.human { "N/A".into() } else { created.into() }),
                ("ID", if self.no_trunc { &item.id } else { short_id(&item.id) }.into()),
                ("Size", size.into()),
            ])
        });
        KIND.show(self.format.as_deref(), None, self.quiet, rows)?;
        Ok(0)
    }
}
