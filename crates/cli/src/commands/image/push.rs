//! `corten push`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::print;
use crate::progress::{self, Output};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Push all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted, and without effect: images are always verified by digest
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Push one platform of the image only
    #[arg(long, default_value = "")]
    platform: String,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    image: Vec<String>,
}

impl Verb for Push {
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG]";
    const ABOUT: &'static str = "Upload an image to a registry";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let image = super::named(&self.image[0], self.all_tags, self.quiet)?;
        let platform = platform_json(&self.platform);
        // Push insists on the header, empty or not.
        let auth = app.config()?.registry_auth(&image);
        let client = app.client().await?;
        let tag = image.tag.clone().unwrap_or_default();
        let lines = client.image_push(&image.familiar_repository(), &tag, &platform, &auth).await?;
        let output = if self.quiet { Output::Nowhere } else { Output::Stdout };
        progress::show(lines, output, |_| {}).await?;
        if self.quiet {
            print::line(image.to_string());
        }
        Ok(0)
    }
}

/// `linux/arm64/v8` as the JSON the API wants here; empty stays empty.
pub(super) fn platform_json(text: &str) -> String {
    let mut parts = text.split('/');
    let (os, architecture, variant) = (parts.next(), parts.next(), parts.next());
    match os.filter(|os| !os.is_empty()) {
        None => String::new(),
        Some(os) => serde_json::json!({
            "os": os,
            "architecture": architecture.unwrap_or_default(),
            "variant": variant.unwrap_or_default(),
        })
        .to_string(),
    }
}
