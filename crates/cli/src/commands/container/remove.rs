//! `corten rm`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Kill the container first if it is running
    #[arg(short, long)]
    force: bool,
    /// Remove the link of this name, not the container
    #[arg(short, long)]
    link: bool,
    /// Remove the container's anonymous volumes too
    #[arg(short, long)]
    volumes: bool,
    containers: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Remove one or more containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        let (volumes, link, force) = (self.volumes, self.link, self.force);
        super::at_once(&self.containers, |name| async move {
            let path = name.trim_matches('/').to_owned();
            if path.is_empty() {
                return Err(Error::invalid("container name cannot be empty"));
            }
            match client.container_remove(&path, volumes, link, force).await {
                // What is not there need not be forced away.
                Err(error) if force && error.is_not_found() => {
                    crate::print::err_line(error.to_string());
                    Ok(String::new())
                }
                other => other.map(|()| name).map_err(Error::from),
            }
        })
        .await
    }
}
