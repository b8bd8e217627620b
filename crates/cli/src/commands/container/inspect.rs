//! `corten container inspect`.

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
    /// Show the size of the container's files
    #[arg(short, long)]
    size: bool,
    containers: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Display detailed information on one or more containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, size) = (app.client().await?, self.size);
        inspect::show(&self.containers, &self.format, |name| async move {
            Ok(client.container_inspect_raw(&name, size).await?)
        })
        .await
    }
}
