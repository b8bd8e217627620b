//! What all commands share: the global options, the client, the user's configuration.

use std::cell::OnceCell;
use std::future::Future;
use std::sync::OnceLock;

use client::{Client, Host, Options};

use crate::autostart;
use crate::config::Config;
use crate::endpoint::{self, DOCKER_SOCKET, Endpoint};
use crate::error::{Error, Result};
use crate::globals::Globals;

/// One run of the program.
#[derive(Debug)]
pub(crate) struct App {
    globals: Globals,
    /// How the user called the command: `corten run`, `corten container run`.
    pub(crate) called: String,
    endpoint: OnceCell<Endpoint>,
    client: OnceCell<Client>,
    config: OnceCell<Config>,
}

impl App {
    pub(crate) fn new(globals: Globals, called: String) -> Self {
        Self { globals, called, endpoint: OnceCell::new(), client: OnceCell::new(), config: OnceCell::new() }
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
        let endpoint = self.endpoint()?;
        let client = self.client_at(&endpoint.host)?;
        let client = match client.connect().await {
            Ok(()) => client,
            Err(error) if endpoint.chosen => return Err(error.into()),
            Err(error) => self.another(client, error).await?,
        };
        Ok(self.client.get_or_init(|| client))
    }

    /// The client of an engine that answers now; nothing is started, nobody is told why there is none.
    pub(crate) async fn client_if_running(&self) -> Option<Client> {
        let endpoint = self.endpoint().ok()?;
        // ssh may ask for a password.
        if matches!(endpoint.host, Host::Ssh(_)) {
            return None;
        }
        let client = self.client_at(&endpoint.host).ok()?;
        if client.connect().await.is_ok() {
            return Some(client);
        }
        let docker = self.client_at(&DOCKER_SOCKET.parse().ok()?).ok()?;
        (!endpoint.chosen && docker.connect().await.is_ok()).then_some(docker)
    }

    /// Nobody answers where Corten's daemon should be, and nobody chose another engine: starts the daemon, or takes
    /// Docker's if it cannot be started here.
    async fn another(&self, corten: Client, error: client::Error) -> Result<Client> {
        if autostart::possible() {
            autostart::start(&corten).await?;
            return Ok(corten);
        }
        let docker = self.client_at(&DOCKER_SOCKET.parse()?)?;
        if docker.connect().await.is_ok() {
            return Ok(docker);
        }
        if let client::Error::Denied { .. } = error {
            return Err(error.into());
        }
        let what_to_do = if rustix::process::geteuid().is_root() {
            "cortend, which would be started, is neither beside corten nor in PATH."
        } else {
            "Start it as root: 'corten system install' sets up a service, any other command starts it once."
        };
        Err(Error::invalid(format!("{}\n{what_to_do}", Error::from(error).line())))
    }

    fn client_at(&self, host: &Host) -> Result<Client> {
        let options = Options {
            version: env("DOCKER_API_VERSION"),
            tls: self.endpoint()?.tls.clone(),
            headers: self.config()?.headers()?,
        };
        Ok(Client::new(host.clone(), options))
    }

    /// The engine that is meant.
    pub(crate) fn endpoint(&self) -> Result<&Endpoint> {
        if let Some(endpoint) = self.endpoint.get() {
            return Ok(endpoint);
        }
        let endpoint = endpoint::resolve(&self.globals, self.config()?)?;
        Ok(self.endpoint.get_or_init(|| endpoint))
    }

    /// The name of the context in force, there or not.
    pub(crate) fn context(&self) -> Result<String> {
        let configured = self.config()?.text("currentContext").map(str::to_owned);
        endpoint::context_name(&self.globals, || configured)
    }

    /// The proxy variables for containers and builds.
    pub(crate) fn proxies(&self) -> Result<Vec<(String, String)>> {
        if self.config()?.object("proxies").is_none() {
            return Ok(Vec::new());
        }
        let host = self.client.get().map(Client::host);
        let host = host.map_or_else(|| self.endpoint().map(|e| e.host.to_string()), |h| Ok(h.to_string()))?;
        Ok(self.config()?.proxies(&host))
    }

    /// The user's `config.json`, read when first needed.
    pub(crate) fn config(&self) -> Result<&Config> {
        if let Some(config) = self.config.get() {
            return Ok(config);
        }
        let config = Config::load(self.globals.config.clone())?;
        Ok(self.config.get_or_init(|| config))
    }

    pub(crate) fn globals(&self) -> &Globals {
        &self.globals
    }
}

/// A variable of the environment; empty counts as not set.
pub(crate) fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the user calls this program: `docker` if it was started under that name, or else `corten`.
pub(crate) fn program() -> &'static str {
    static NAME: OnceLock<&str> = OnceLock::new();
    NAME.get_or_init(|| {
        let word = std::env::args_os().next().unwrap_or_default();
        let is_docker = std::path::Path::new(&word).file_name().is_some_and(|name| name == "docker");
        if is_docker { "docker" } else { "corten" }
    })
}
