//! `corten start`.

use std::cell::RefCell;
use std::ops::RangeInclusive;

use client::{AttachOptions, WaitCondition};

use super::run::exit_code;
use crate::app::App;
use crate::attach::{End, Session, converse, detach_keys};
use crate::error::{Error, Result};
use crate::signals::Signals;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Attach STDOUT and STDERR, and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach STDIN
    #[arg(short, long)]
    interactive: bool,
    /// Key sequence that detaches from the container
    #[arg(long, default_value = "")]
    detach_keys: String,
    containers: Vec<String>,
}

impl Verb for Start {
    const USAGE: &'static str = "[OPTIONS] CONTAINER [CONTAINER...]";
    const ABOUT: &'static str = "Start one or more stopped containers";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        if self.attach || self.interactive {
            return match self.containers.as_slice() {
                [container] => self.attached(app, container).await,
                _ => Err(Error::invalid("you cannot start and attach multiple containers at once")),
            };
        }
        let client = app.client().await?;
        let failed = RefCell::new(Vec::new());
        super::each(&self.containers, |name| {
            let failed = &failed;
            async move {
                match client.container_start(&name).await {
                    Ok(()) => Ok(name),
                    Err(error) => {
                        failed.borrow_mut().push(name);
                        Err(error.into())
                    }
                }
            }
        })
        .await?;
        match failed.into_inner() {
            failed if failed.is_empty() => Ok(0),
            failed => {
                Err(Error::invalid(format!("Error: failed to start containers: {}", failed.join(", "))))
            }
        }
    }
}

impl Start {
    async fn attached(&self, app: &App, container: &str) -> Result<u8> {
        let client = app.client().await?;
        let inspected = client.container_inspect(container).await?;
        let stdin = self.interactive && inspected.config.open_stdin;
        let tty = inspected.config.tty;
        Session::check_terminal(tty, stdin)?;
        let (words, keys) = detach_keys(app, &self.detach_keys, tty && stdin)?;
        let session = Session { tty, stdin, detach_keys: keys };
        let options = AttachOptions { stdin, stdout: true, stderr: true, logs: false, detach_keys: words };
        let id = &inspected.id;
        let condition =
            if inspected.host_config.auto_remove { WaitCondition::Removed } else { WaitCondition::NextExit };
        let mut signals = Signals::catch();
        let (connection, waiting) =
            tokio::try_join!(client.container_attach(id, &options), client.container_wait(id, condition))?;
        let raw = session.raw()?;
        client.container_start(id).await?;
        if converse(client, id, session, connection, Some(&mut signals)).await? == End::Detached {
            return Ok(0);
        }
        let exit = waiting.finish().await?;
        drop(raw);
        Ok(exit_code(exit.status_code))
    }
}
