//! `corten network rm`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::commands::container::each;
use crate::error::{Error, Result};
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Do not fail if the network does not exist
    #[arg(short, long)]
    force: bool,
    networks: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "NETWORK [NETWORK...]";
    const ABOUT: &'static str = "Remove one or more networks";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (client, force) = (app.client().await?, self.force);
        each(&self.networks, |name| async move {
            match client.network_remove(&name).await {
                Err(error) if force && error.is_not_found() => Ok(String::new()),
                other => other.map(|()| name).map_err(Error::from),
            }
        })
        .await
    }
}
