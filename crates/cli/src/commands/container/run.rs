//! `corten run`: create, attach and wait at once, start, and be the container's terminal until it ends.

use std::ops::RangeInclusive;

use client::{AttachOptions, Client, Hijacked, WaitCondition, Waiting};

use super::create;
use crate::app::App;
use crate::attach::{End, Session, converse, detach_keys};
use crate::error::{Error, Result};
use crate::flags::create::CreateFlags;
use crate::flags::request::Streams;
use crate::print;
use crate::signals::Signals;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Run in the background and print the container's ID
    #[arg(short, long)]
    detach: bool,
    /// Key sequence that detaches from the container
    #[arg(long, default_value = "")]
    detach_keys: String,
    /// Pass signals on to the process
    #[arg(long, default_value_t = true)]
    sig_proxy: bool,
    #[command(flatten)]
    flags: CreateFlags,
    image_and_command: Vec<String>,
}

impl Verb for Run {
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ABOUT: &'static str = "Create and run a new container from an image";
    const WORDS: RangeInclusive<usize> = 1..=MANY;
    const OPTIONS_FIRST: bool = true;

    async fn run(self, app: &App) -> Result<u8> {
        self.flags.check_pull().map_err(|error| super::refused(&error, &app.called))?;
        let streams = self.streams()?;
        if !self.detach
            && let Err(error) = Session::check_terminal(self.flags.tty, streams.stdin)
        {
            return Err(Error::Exit { code: 1, message: error.line() });
        }
        self.go(app, streams).await.map_err(|error| super::refused(&error, &app.called))
    }
}

impl Run {
    fn streams(&self) -> Result<Streams> {
        match (self.detach, self.flags.attach.is_empty()) {
            (true, false) => {
                Err(Error::invalid("conflicting options: cannot specify both --attach and --detach"))
            }
            (true, true) => Ok(Streams::default()),
            (false, _) => Ok(self.flags.streams()),
        }
    }

    async fn go(&self, app: &App, streams: Streams) -> Result<u8> {
        let typed = self.flags.tty && streams.stdin;
        let (words, keys) = detach_keys(app, &self.detach_keys, typed)?;
        let mut request = self.flags.request(&self.image_and_command, streams)?;
        // Signals are caught before there is a container that could miss them.
        let mut signals = (self.sig_proxy && !self.detach).then(Signals::catch);
        request.config.stdin_once = request.config.stdin_once && !self.detach;
        let id = create::make(app, &self.flags, request).await?;
        let client = app.client().await?;
        if self.detach {
            client.container_start(&id).await?;
            print::line(&id);
            return Ok(0);
        }
        let session = Session { tty: self.flags.tty, stdin: streams.stdin, detach_keys: keys };
        let (connection, waiting) = self.listen(client, &id, streams, &words).await?;
        let raw = session.raw()?;
        client.container_start(&id).await?;
        let end = converse(client, &id, session, connection, signals.as_mut()).await;
        if end? == End::Detached {
            return Ok(0);
        }
        // The output has ended; a signal may still be needed to end the process.
        let exit = tokio::select! {
            exit = waiting.finish() => exit?,
            never = async { match &mut signals {
                Some(signals) => signals.forward(client, &id).await,
                None => std::future::pending().await,
            }} => match never {},
        };
        drop(raw);
        if let Some(error) = exit.error {
            return Err(Error::invalid(format!("error waiting for container: {}", error.message)));
        }
        Ok(exit_code(exit.status_code))
    }

    /// Attaches and waits, on two connections at once. Both must be in place before the start: a short process
    /// would be over before a later request.
    async fn listen(
        &self,
        client: &Client,
        id: &str,
        streams: Streams,
        words: &str,
    ) -> Result<(Hijacked, Waiting)> {
        let options = AttachOptions {
            stdin: streams.stdin,
            stdout: streams.stdout,
            stderr: streams.stderr,
            logs: false,
            detach_keys: words.to_owned(),
        };
        let condition = if self.flags.rm { WaitCondition::Removed } else { WaitCondition::NextExit };
        let both =
            tokio::try_join!(client.container_attach(id, &options), client.container_wait(id, condition));
        Ok(both?)
    }
}

/// A container's status as ours.
pub(super) fn exit_code(status: i64) -> u8 {
    // Statuses are below 256; what is not is a failure all the same.
    u8::try_from(status & 0xff).unwrap_or(1)
}
