//! `corten stop`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Stop {
    /// Signal to send to the container
    #[arg(short, long, default_value = "")]
    signal: String,
    /// Seconds to wait before killing the container
    #[arg(short, long, alias = "time", value_name = "int")]
    timeout: Option<i64>,
    containers: Vec<String>,
}

impl Verb for Stop {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Stop one or more running containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, signal, timeout) = (app.client().await?, &self.signal, self.timeout);
        super::at_once(&self.containers, |name| async move {
            client.container_stop(&name, signal, timeout).await?;
            Ok(name)
        })
        .await
    }
}
