//! `corten pause` and `corten unpause`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Pause {
    containers: Vec<String>,
}

impl Verb for Pause {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Pause all processes within one or more containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        super::each(&self.containers, |name| async move {
            client.container_pause(&name).await?;
            Ok(name)
        })
        .await
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unpause {
    containers: Vec<String>,
}

impl Verb for Unpause {
    const USAGE: &'static str = "CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Unpause all processes within one or more containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        super::each(&self.containers, |name| async move {
            client.container_unpause(&name).await?;
            Ok(name)
        })
        .await
    }
}
