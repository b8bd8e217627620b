//! `corten wait`.

use std::ops::RangeInclusive;

use client::WaitCondition;

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    containers: Vec<String>,
}

impl Verb for Wait {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Block until one or more containers stop, then print their exit codes";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        super::each(&self.containers, |name| async move {
            let exit = client.container_wait(&name, WaitCondition::NotRunning).await?.finish().await?;
            match exit.error {
                Some(error) => Err(Error::invalid(error.message)),
                None => Ok(exit.status_code.to_string()),
            }
        })
        .await
    }
}
