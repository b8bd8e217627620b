//! `corten import`.

use std::ops::RangeInclusive;

use client::ImportOptions;

use crate::app::App;
use crate::error::{Error, Result};
use crate::progress::{self, Output};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message of the image
    #[arg(short, long, default_value = "")]
    message: String,
    /// Platform of the image
    #[arg(long, default_value = "")]
    platform: String,
    words: Vec<String>,
}

impl Verb for Import {
    const USAGE: &'static str = "[OPTIONS] file|URL|- [REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "Import the contents from a tarball to create a filesystem image";
    const WORDS: RangeInclusive<usize> = 1..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let source = self.words[0].as_str();
        let is_url = source.starts_with("http://") || source.starts_with("https://");
        let upload = match source {
            "-" => Some(super::upload(std::io::stdin())),
            _ if is_url => None,
            path => Some(super::upload(std::fs::File::open(path).map_err(Error::file("open", path))?)),
        };
        let (repository, tag) = match self.words.get(1) {
            None => (String::new(), String::new()),
            Some(name) => {
                let name = super::reference(name)?;
                (name.familiar_repository(), name.tag.unwrap_or_default())
            }
        };
        let options = ImportOptions {
            source: if upload.is_some() { "-".into() } else { source.to_owned() },
            repository,
            tag,
            message: self.message,
            changes: self.change,
            platform: self.platform,
        };
        let lines = app.client().await?.image_import(&options, upload).await?;
        progress::show(lines, Output::Stdout, |_| {}).await?;
        Ok(0)
    }
}
