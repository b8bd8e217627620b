//! `corten rename`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Rename {
    names: Vec<String>,
}

impl Verb for Rename {
    const USAGE: &'static str = "CONTAINER NEW_NAME";
    const ABOUT: &'static str = "Rename a container";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let (old, new) = (self.names[0].trim(), self.names[1].trim());
        if old.is_empty() || new.is_empty() {
            return Err(Error::invalid("Error: Neither old nor new names may be empty"));
        }
        if let Err(error) = app.client().await?.container_rename(old, new).await {
            crate::print::err_line(Error::from(error).line());
            return Err(Error::invalid(format!("Error: failed to rename container named {old}")));
        }
        Ok(0)
    }
}
