//! `corten manifest create`.

use std::ops::RangeInclusive;

use super::list::{self, Entry};
use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};
use crate::{print, registry};

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Add to a list that is there
    #[arg(short, long)]
    amend: bool,
    /// Speak to a registry without verified TLS
    #[arg(long)]
    insecure: bool,
    words: Vec<String>,
}

impl Verb for Create {
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST MANIFEST [MANIFEST...]";
    const ABOUT: &'static str = "Make a list of manifests here, to annotate and push it";
    const WORDS: RangeInclusive<usize> = 2..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let name = registry::reference(&self.words[0])?;
        if !self.amend && !list::read(app, &name)?.is_empty() {
            return Err(Error::invalid("refusing to amend an existing manifest list with no --amend flag"));
        }
        let mut entries = Vec::new();
        for image in &self.words[1..] {
            let image = registry::reference(image)?;
            entries.push((Entry::fetch(app, &image, self.insecure)?, image));
        }
        for (entry, image) in &entries {
            list::write(app, &name, image, entry)?;
        }
        print::line(format!("Created manifest list {name}"));
        Ok(0)
    }
}
