//! `corten kill`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long, default_value = "")]
    signal: String,
    containers: Vec<String>,
}

impl Verb for Kill {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Kill one or more running containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, signal) = (app.client().await?, &self.signal);
        super::at_once(&self.containers, |name| async move {
            client.container_kill(&name, signal).await?;
            Ok(name)
        })
        .await
    }
}
