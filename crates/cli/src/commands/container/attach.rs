//! `corten attach`.

use std::ops::RangeInclusive;

use client::{AttachOptions, WaitCondition};

use super::run::exit_code;
use crate::app::App;
use crate::attach::{DETACHED, End, Session, converse, detach_keys};
use crate::error::{Error, Result};
use crate::signals::Signals;
use crate::terminal;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Key sequence that detaches from the container
    #[arg(long, default_value = "")]
    detach_keys: String,
    /// Do not attach STDIN
    #[arg(long)]
    no_stdin: bool,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true)]
    sig_proxy: bool,
    container: Vec<String>,
}

impl Verb for Attach {
    const USAGE: &'static str = "[OPTIONS] CONTAINER";
    const ABOUT: &'static str =
        "Attach local standard input, output, and error streams to a running container";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        let inspected = client.container_inspect(&self.container[0]).await?;
        let state = &inspected.state;
        for (refuse, reason) in [
            (!state.running, "cannot attach to a stopped container, start it first"),
            (state.paused, "cannot attach to a paused container, unpause it first"),
            (state.restarting, "cannot attach to a restarting container, wait until it is running"),
        ] {
            if refuse {
                return Err(Error::invalid(reason));
            }
        }
        let (tty, stdin) = (inspected.config.tty, !self.no_stdin && inspected.config.open_stdin);
        Session::check_terminal(tty, stdin)?;
        let (words, keys) = detach_keys(app, &self.detach_keys, tty && stdin)?;
        let session = Session { tty, stdin, detach_keys: keys };
        let options = AttachOptions { stdin, stdout: true, stderr: true, logs: false, detach_keys: words };
        let id = &inspected.id;
        let mut signals = (self.sig_proxy && !tty).then(Signals::catch);
        let (connection, waiting) = tokio::try_join!(
            client.container_attach(id, &options),
            client.container_wait(id, WaitCondition::NotRunning)
        )?;
        let raw = session.raw()?;
        if let Some([height, width]) = terminal::size().filter(|_| tty) {
            // A change of size makes most programs draw themselves again; the right size follows. One that is gone
            // by now ends the conversation at once.
            let _ = client.container_resize(id, height.saturating_add(1), width.saturating_add(1)).await;
        }
        if converse(client, id, session, connection, signals.as_mut()).await? == End::Detached {
            return Err(Error::invalid(DETACHED));
        }
        let exit = waiting.finish().await?;
        drop(raw);
        Ok(exit_code(exit.status_code))
    }
}
