//! `corten commit`.

use std::ops::RangeInclusive;

use client::CommitOptions;
use spec::Reference;

use crate::app::App;
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Author (e.g., "John Hannibal Smith <hannibal@a-team.com>")
    #[arg(short, long, default_value = "")]
    author: String,
    /// Apply a Dockerfile instruction to the image
    #[arg(short, long)]
    change: Vec<String>,
    /// Commit message
    #[arg(short, long, default_value = "")]
    message: String,
    /// Let the container run while it is committed
    #[arg(long)]
    no_pause: bool,
    /// Pause the container while it is committed
    #[arg(short, long, default_value_t = true, hide = true)]
    pause: bool,
    words: Vec<String>,
}

impl Verb for Commit {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "Create a new image from a container's changes";
    const WORDS: RangeInclusive<usize> = 1..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let (repository, tag) = match self.words.get(1) {
            None => (String::new(), String::new()),
            Some(name) => {
                let name: Reference = name.parse().map_err(|error| Error::invalid(format!("{error}")))?;
                if name.digest.is_some() {
                    return Err(Error::invalid("refusing to create a tag with a digest reference"));
                }
                let name = name.or_latest();
                (name.familiar_repository(), name.tag.unwrap_or_default())
            }
        };
        let options = CommitOptions {
            repository,
            tag,
            comment: self.message,
            author: self.author,
            changes: self.change,
            pause: self.pause && !self.no_pause,
        };
        print::line(app.client().await?.image_commit(&self.words[0], &options).await?);
        Ok(0)
    }
}
