//! `corten manifest annotate`.

use std::ops::RangeInclusive;

use super::list;
use crate::app::App;
use crate::error::{Error, Result};
use crate::registry;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Annotate {
    /// Architecture, amd64
    #[arg(long, default_value = "")]
    arch: String,
    /// Operating system, linux
    #[arg(long, default_value = "")]
    os: String,
    /// Feature of the operating system (repeatable, or with commas)
    #[arg(long, value_delimiter = ',')]
    os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, default_value = "")]
    os_version: String,
    /// Variant of the architecture, v7
    #[arg(long, default_value = "")]
    variant: String,
    words: Vec<String>,
}

impl Verb for Annotate {
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST MANIFEST";
    const ABOUT: &'static str = "Say what an image of a list runs on";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let (name, image) = (registry::reference(&self.words[0])?, registry::reference(&self.words[1])?);
        let entries = list::read(app, &name)?;
        let wanted = image.to_string();
        let Some(mut entry) = entries.into_iter().find(|entry| entry.reference == wanted) else {
            return Err(Error::invalid(format!(
                "manifest for image {} does not exist in {}",
                image.familiar(),
                name.familiar()
            )));
        };
        let platform = entry.descriptor.platform.get_or_insert_default();
        for (field, value) in [
            (&mut platform.architecture, self.arch),
            (&mut platform.os, self.os),
            (&mut platform.os_version, self.os_version),
            (&mut platform.variant, self.variant),
        ] {
            if !value.is_empty() {
                *field = value;
            }
        }
        for feature in self.os_features {
            if !platform.os_features.contains(&feature) {
                platform.os_features.push(feature);
            }
        }
        if platform.os.is_empty() || platform.architecture.is_empty() {
            return Err(Error::invalid(format!(
                "manifest entry for image has unsupported os/arch combination: {}/{}",
                platform.os, platform.architecture
            )));
        }
        list::write(app, &name, &image, &entry)?;
        Ok(0)
    }
}
