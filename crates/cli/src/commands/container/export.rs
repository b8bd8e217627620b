//! `corten export`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::image::save;
use crate::error::{Error, Result};
use crate::path;
use crate::verb::Verb;

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
        check(&self.output, "container")?;
        let body = app.client().await?.container_export(&self.container[0]).await?;
        save::write(body, &self.output).await
    }
}

/// Refuses what is no place for an archive of such a thing.
pub(crate) fn check(output: &str, what: &str) -> Result<()> {
    save::refuse_terminal(output)?;
    if output.is_empty() {
        return Ok(());
    }
    let failed = |reason: &str| Error::invalid(format!("failed to export {what}: {reason}"));
    let (directory, _) = path::split(output);
    if let Err(source) = std::fs::metadata(&directory) {
        let reason = Error::file("stat", directory)(source).line();
        return Err(failed(&format!("invalid output path: {reason}")));
    }
    match std::fs::metadata(output) {
        Ok(meta) if meta.is_dir() => Err(failed("cannot write to a directory")),
        Ok(_) | Err(_) => Ok(()),
    }
}
