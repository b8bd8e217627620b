//! `corten exec`.

use std::ops::RangeInclusive;

use spec::api::ExecConfig;

use super::run::exit_code;
use crate::app::App;
use crate::attach::{End, Session, detach_keys, follow_size};
use crate::error::{Error, Result};
use crate::flags::{checked, env};
use crate::terminal;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Exec {
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Key sequence that detaches from the command
    #[arg(long, default_value = "")]
    detach_keys: String,
    /// Set an environment variable
    #[arg(short, long, value_parser = checked::variable)]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long)]
    env_file: Vec<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    interactive: bool,
    /// Give the command all privileges of the host
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// User name or UID (format: <name|uid>[:<group|gid>])
    #[arg(short, long, default_value = "")]
    user: String,
    /// Working directory in the container
    #[arg(short, long, default_value = "")]
    workdir: String,
    container_and_command: Vec<String>,
}

impl Verb for Exec {
    const USAGE: &'static str = "[OPTIONS] CONTAINER COMMAND [ARG...]";
    const ABOUT: &'static str = "Execute a command in a running container";
    const WORDS: RangeInclusive<usize> = 2..=MANY;
    const OPTIONS_FIRST: bool = true;

    async fn run(self, app: &App) -> Result<u8> {
        let (container, command) = self.container_and_command.split_first().expect("two words or more");
        if !self.detach {
            Session::check_terminal(self.tty, self.interactive)?;
        }
        let (words, keys) = detach_keys(app, &self.detach_keys, self.tty && self.interactive)?;
        let console_size = terminal::size().filter(|_| self.tty);
        let config = ExecConfig {
            user: self.user.clone(),
            privileged: self.privileged,
            tty: self.tty,
            console_size,
            attach_stdin: self.interactive && !self.detach,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach_keys: words,
            env: env::variables(&self.env_file, &self.env)?,
            working_dir: self.workdir.clone(),
            cmd: command.to_vec(),
        };
        let client = app.client().await?;
        let id = client.exec_create(container, &config).await?;
        if self.detach {
            client.exec_start_detached(&id, self.tty).await?;
            return Ok(0);
        }
        let session = Session { tty: self.tty, stdin: self.interactive, detach_keys: keys };
        let connection = client.exec_start(&id, self.tty, console_size).await.map_err(refused)?;
        let raw = session.raw()?;
        let end = tokio::select! {
            end = session.copy(connection) => end?,
            never = follow_size(self.tty, |height, width| client.exec_resize(&id, height, width)) => match never {},
        };
        drop(raw);
        if end == End::Detached {
            return Err(Error::invalid(crate::attach::DETACHED));
        }
        Ok(exit_code(client.exec_inspect(&id).await?.exit_code.unwrap_or_default()))
    }
}

/// A program that cannot be started has a status of its own, as in a shell.
fn refused(error: client::Error) -> Error {
    let message = error.to_string();
    let code =
        if message.contains("executable file not found") || message.contains("no such file or directory") {
            127
        } else if message.contains("permission denied") || message.contains("is a directory") {
            126
        } else {
            1
        };
    Error::Exit { code, message }
}
