//! `corten save`.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use client::Body;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};
use crate::{print, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// Write to a file, instead of STDOUT
    #[arg(short, long, default_value = "")]
    output: String,
    /// Save only this platform (e.g. "linux/amd64")
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    images: Vec<String>,
}

impl Verb for Save {
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Save one or more images to a tar archive (streamed to STDOUT by default)";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        refuse_terminal(&self.output)?;
        let platforms: Vec<_> = self.platform.iter().map(|p| super::push::platform_json(p)).collect();
        let body = app.client().await?.image_save(&self.images, &platforms).await?;
        write(body, &self.output).await
    }
}

/// Nobody reads an archive.
pub(crate) fn refuse_terminal(output: &str) -> Result<()> {
    if output.is_empty() && terminal::stdout_is_terminal() {
        return Err(Error::invalid("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    Ok(())
}

/// Writes a stream to a file, which appears only when it is complete, or to stdout.
pub(crate) async fn write(mut body: Body, path: &str) -> Result<u8> {
    if path.is_empty() {
        while let Some(chunk) = body.chunk().await? {
            print::out(&chunk);
        }
        return Ok(0);
    }
    let path = Path::new(path);
    let special = path.metadata().is_ok_and(|meta| !meta.is_file());
    let target = if special { path.to_owned() } else { beside(path) };
    let opened = std::fs::OpenOptions::new().write(true).create(!special).truncate(!special).open(&target);
    let mut file = opened.map_err(Error::file("cannot write", path))?;
    let outcome = async {
        while let Some(chunk) = body.chunk().await? {
            file.write_all(&chunk).map_err(Error::file("cannot write", path))?;
        }
        Ok(())
    }
    .await;
    match outcome {
        Ok(()) if special => Ok(0),
        Ok(()) => {
            let renamed = rustix::fs::rename(&target, path);
            renamed.map_err(|error| Error::file("cannot write", path)(error.into()))?;
            Ok(0)
        }
        Err(error) => {
            if !special {
                // Half an archive is worth nothing.
                let _ = std::fs::remove_file(&target);
            }
            Err(error)
        }
    }
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}
