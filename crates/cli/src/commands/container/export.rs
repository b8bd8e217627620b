//! `corten export`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{path, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, default_value = "")]
    output: String,
    container: Vec<String>,
}

impl Verb for Export {
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ABOUT: &'static str = "Export a container's filesystem as a tar archive";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        if self.output.is_empty() && terminal::stdout_is_terminal() {
            return Err(Error::invalid(
                "cowardly refusing to save to a terminal. Use the -o flag or redirect",
            ));
        }
        if !self.output.is_empty() {
            check(&self.output)
                .map_err(|reason| Error::invalid(format!("failed to export container: {reason}")))?;
        }
        let body = app.client().await?.container_export(&self.container[0]).await?;
        crate::commands::image::save::write(body, &self.output).await
    }
}

/// Refuses what is no place for a file.
pub(crate) fn check(path: &str) -> std::result::Result<(), String> {
    let (directory, _) = path::split(path);
    if let Err(source) = std::fs::metadata(&directory) {
        return Err(format!("invalid output path: {}", Error::file("stat", directory)(source).line()));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Err("cannot write to a directory".into()),
        Ok(_) | Err(_) => Ok(()),
    }
}
