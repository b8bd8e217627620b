//! `corten manifest rm`.

use std::ops::RangeInclusive;

use super::list;
use crate::app::App;
use crate::error::{Error, Result};
use crate::registry;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    words: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "MANIFEST_LIST [MANIFEST_LIST...]";
    const ABOUT: &'static str = "Forget lists of manifests that are here";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let mut missing = Vec::new();
        for word in &self.words {
            if !list::remove(app, &registry::reference(word)?)? {
                missing.push(format!("No such manifest: {word}"));
            }
        }
        if missing.is_empty() { Ok(0) } else { Err(Error::invalid(missing.join("\n"))) }
    }
}
