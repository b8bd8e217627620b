//! `corten image inspect`.

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
    /// Inspect one platform of the image
    #[arg(long, default_value = "")]
    platform: String,
    images: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Display detailed information on one or more images";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let platform = super::push::platform_json(&self.platform);
        let (client, platform) = (app.client().await?, &platform);
        inspect::show(&self.images, &self.format, |name| async move {
            Ok(client.image_inspect_raw(&name, platform).await?)
        })
        .await
    }
}
