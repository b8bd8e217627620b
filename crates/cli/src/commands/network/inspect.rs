//! `corten network inspect`.

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
    /// Show more, for diagnostics
    #[arg(short, long)]
    verbose: bool,
    networks: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] NETWORK [NETWORK...]";
    const ABOUT: &'static str = "Display detailed information on one or more networks";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, verbose) = (app.client().await?, self.verbose);
        inspect::show(&self.networks, &self.format, |name| async move {
            Ok(client.network_inspect_raw(&name, verbose).await?)
        })
        .await
    }
}
