//! What all commands share: the global options, the client, the user's configuration.

use std::cell::OnceCell;
use std::future::Future;
use std::path::PathBuf;

use client::{Client, Host};

use crate::config::Config;
use crate::error::{Error, Result};

/// Where Corten's daemon listens unless told otherwise.
pub(crate) const DEFAULT_HOST: &str = "unix:///run/corten/corten.sock";

/// The options in front of the command.
#[derive(Debug, Default)]
pub(crate) struct Globals {
    pub(crate) host: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) config: Option<PathBuf>,
}

/// One run of the program.
#[derive(Debug)]
pub(crate) struct App {
    globals: Globals,
    /// How the user called the command: `corten run`, `corten container run`.
    pub(crate) called: String,
    client: OnceCell<Client>,
    config: OnceCell<Config>,
}

impl App {
    pub(crate) fn new(globals: Globals, called: String) -> Self {
        Self { globals, called, client: OnceCell::new(), config: OnceCell::new() }
    }

    /// Runs a future on a runtime of this one thread.
    pub(crate) fn block_on<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| Error::Io { what: "cannot start", source })?;
        let outcome = runtime.block_on(future);
        // A thread may still sit in a read of stdin.
        runtime.shutdown_background();
        outcome
    }

    /// The client, connected; starts the daemon if it is ours to start.
    pub(crate) async fn client(&self) -> Result<&Client> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let (host, is_default) = self.host()?;
        let client = Client::new(host, env("DOCKER_API_VERSION"));
        match client.connect().await {
            Ok(()) => {}
            Err(_) if is_default => crate::autostart::start(&client).await?,
            Err(error) => return Err(error.into()),
        }
        Ok(self.client.get_or_init(|| client))
    }

    /// The engine's address, and whether nobody chose it.
    fn host(&self) -> Result<(Host, bool)> {
        match &self.globals.context {
            Some(context) if context != "default" => {
                return Err(Error::invalid(format!("context {context:?}: contexts are not supported yet")));
            }
            Some(_) | None => {}
        }
        let chosen = self.globals.host.clone().or_else(|| env("CORTEN_HOST")).or_else(|| env("DOCKER_HOST"));
        let host = chosen.as_deref().unwrap_or(DEFAULT_HOST).parse()?;
        Ok((host, chosen.is_none()))
    }

    /// The user's `config.json`, read when first needed.
    pub(crate) fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::load(self.globals.config.clone())?;
        Ok(self.config.get_or_init(|| config))
    }
}

/// A variable of the environment; empty counts as not set.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
