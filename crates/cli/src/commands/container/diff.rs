//! `corten diff`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    container: Vec<String>,
}

impl Verb for Diff {
    const USAGE: &'static str = "CONTAINER";
    const ABOUT: &'static str = "Inspect changes to files or directories on a container's filesystem";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        if self.container[0].is_empty() {
            return Err(Error::invalid("Container name cannot be empty"));
        }
        let mut out = String::new();
        for change in app.client().await?.container_changes(&self.container[0]).await? {
            let kind = match change.kind {
                0 => 'C',
                1 => 'A',
                2 => 'D',
                _ => '?',
            };
            out.push_str(&format!("{kind} {}\n", change.path));
        }
        print::out(out);
        Ok(0)
    }
}
