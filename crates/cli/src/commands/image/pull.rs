//! `corten pull`.

use std::ops::RangeInclusive;

use client::Client;
use spec::Reference;

use crate::app::App;
use crate::commands::container::create::platform;
use crate::error::Result;
use crate::print;
use crate::progress::{self, Output};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    all_tags: bool,
    /// Accepted, and without effect: images are always verified by digest
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Platform of the image, if it has several
    #[arg(long, default_value = "")]
    platform: String,
    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
    image: Vec<String>,
}

impl Verb for Pull {
    const USAGE: &'static str = "[OPTIONS] NAME[:TAG|@DIGEST]";
    const ABOUT: &'static str = "Download an image from a registry";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let image = super::named(&self.image[0], self.all_tags, self.quiet)?;
        let client = app.client().await?;
        let output = if self.quiet { Output::Nowhere } else { Output::Stdout };
        pull(app, client, &image, &platform(&self.platform), output).await?;
        print::line(image.to_string());
        Ok(0)
    }
}

/// Pulls one image, or all tags of a repository without a tag.
pub(crate) async fn pull(
    app: &App,
    client: &Client,
    image: &Reference,
    platform: &str,
    output: Output,
) -> Result<()> {
    let auth = app.config()?.registry_auth(image);
    let tag = match (&image.digest, &image.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, Some(tag)) => tag.clone(),
        (None, None) => String::new(),
    };
    let lines = client.image_pull(&image.familiar_repository(), &tag, platform, &auth).await?;
    progress::show(lines, output, |_| {}).await?;
    Ok(())
}
