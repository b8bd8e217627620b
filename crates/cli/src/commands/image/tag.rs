//! `corten tag`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    names: Vec<String>,
}

impl Verb for Tag {
    const USAGE: &'static str = "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]";
    const ABOUT: &'static str = "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let target: spec::Reference = self.names[1].parse().map_err(|error| {
            Error::invalid(format!(
                "Error parsing reference: {:?} is not a valid repository/tag: {error}",
                self.names[1]
            ))
        })?;
        if target.digest.is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let target = target.or_latest();
        let tag = target.tag.clone().unwrap_or_default();
        app.client().await?.image_tag(&self.names[0], &target.familiar_repository(), &tag).await?;
        Ok(0)
    }
}
