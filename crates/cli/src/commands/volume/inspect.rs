//! `corten volume inspect`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::system::inspect;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format output with a template, or "json"
    #[arg(short, long, default_value = "")]
    format: String,
    volumes: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] VOLUME [VOLUME...]";
    const ABOUT: &'static str = "Display detailed information on one or more volumes";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        inspect::show(&self.volumes, &self.format, |name| async move {
            Ok(client.volume_inspect_raw(&name).await?)
        })
        .await
    }
}
