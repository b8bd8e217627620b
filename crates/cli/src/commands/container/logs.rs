//! `corten logs`.

use std::ops::RangeInclusive;

use client::LogOptions;

use crate::app::App;
use crate::attach::Sink;
use crate::error::Result;
use crate::time;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// Show extra details provided to logs
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show logs since a time (e.g. "2013-01-02T13:23:37Z") or from a while ago (e.g. "42m")
    #[arg(long, default_value = "")]
    since: String,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all")]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs before a time (e.g. "2013-01-02T13:23:37Z") or up to a while ago (e.g. "42m")
    #[arg(long, default_value = "")]
    until: String,
    container: Vec<String>,
}

impl Verb for Logs {
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ABOUT: &'static str = "Fetch the logs of a container";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let options = LogOptions {
            follow: self.follow,
            since: time::moment(&self.since)?,
            until: time::moment(&self.until)?,
            timestamps: self.timestamps,
            details: self.details,
            tail: self.tail,
        };
        let client = app.client().await?;
        let container = client.container_inspect(&self.container[0]).await?;
        let mut body = client.container_logs(&container.id, &options).await?;
        let mut sink = Sink::new(container.config.tty);
        while let Some(chunk) = body.chunk().await? {
            sink.write(&chunk)?;
        }
        Ok(0)
    }
}
