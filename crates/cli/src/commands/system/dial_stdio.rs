//! `corten system dial-stdio`: the far end of `ssh://`.

use std::ops::RangeInclusive;

use tokio::io::{AsyncWriteExt as _, copy, split, stdin, stdout};

use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct DialStdio {}

impl Verb for DialStdio {
    const USAGE: &'static str = "";
    const ABOUT: &'static str =
        "Proxy the stdio stream to the daemon connection. Should not be invoked manually.";
    const WORDS: RangeInclusive<usize> = 0..=0;
    const HIDDEN: bool = true;

    /// Until the engine has said its last word; the end of the input is passed on, and does not end the output.
    async fn run(self, app: &App) -> Result<u8> {
        let stream = app.client().await?.dial().await?;
        let (mut from_engine, mut to_engine) = split(stream);
        tokio::spawn(async move {
            // The engine's own end of the connection tells when it is gone.
            let _ = copy(&mut stdin(), &mut to_engine).await;
            let _ = to_engine.shutdown().await;
        });
        let mut out = stdout();
        let copied = async {
            copy(&mut from_engine, &mut out).await?;
            out.flush().await
        };
        copied.await.map_err(|source| Error::Io { what: "cannot pass the stream on", source })?;
        Ok(0)
    }
}
