//! The command line and daemon.json, and what they mean.
//!
//! | room | what is in it |
//! |---|---|
//! | `keys` | the table of directives |
//! | `value` | how values are written, in either place |
//! | `flags`, `daemon_json` | the two places; a directive is given in one of them |
//! | `host`, `read` | addresses; other small things |
//! | `options` | what it all means |

mod daemon_json;
mod flags;
pub(crate) mod host;
mod keys;
mod options;
mod read;
mod value;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use flags::Flags;
pub use host::Host;
pub use options::Options;

/// Under the options in `--help`.
const NOTES: &str = "Every option after the first two can stand in the configuration file instead, under Docker's name \
                     for it, but not in both places.\nSIGHUP reads the file again. Containers outlive the daemon, \
                     however it ends.";

/// Where the file is, when the user does not say.
const FILE: &str = "/etc/corten/daemon.json";

/// The container engine's daemon
#[derive(Debug, Parser)]
#[command(name = "cortend", version, args_conflicts_with_subcommands = true, max_term_width = 120, after_help = NOTES)]
pub struct Cli {
    /// Something else than the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The daemon's options.
    #[command(flatten)]
    pub daemon: Source,
}

/// What else this program does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Store and serve images to other hosts
    Registry {
        /// What to do.
        #[command(subcommand)]
        command: RegistryCommand,
    },
}

/// `cortend registry …`
#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Serve a registry until stopped
    #[command(after_help = SERVE_NOTES)]
    Serve(RegistryOptions),
    /// Answer the command line's question on standard input
    #[command(hide = true)]
    Ask,
    /// Remove what nobody refers to, while no server runs (a server does so by itself)
    Gc {
        /// Where the content is.
        #[command(flatten)]
        store: RegistryStore,
        /// Say what would be removed, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Read everything and tell what is damaged; exits with 1 when something is
    Check {
        /// Where the content is.
        #[command(flatten)]
        store: RegistryStore,
    },
}

/// Under the options in `cortend registry serve --help`.
const SERVE_NOTES: &str = "The configuration file (TOML) says all this and more: rights, tokens, a cache of another registry, a bucket, quotas, \
                           retention, webhooks. docs/registry.md describes it.\nSIGHUP reads certificates and users again, SIGUSR1 collects now, SIGTERM \
                           lets requests in flight finish.";

/// Where a registry keeps its content.
#[derive(Debug, Args)]
pub struct RegistryStore {
    /// Configuration file [default: /etc/corten/registry.toml, if it is there]
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Directory that keeps the content [default: /var/lib/corten-registry]
    #[arg(long, value_name = "PATH")]
    pub root: Option<PathBuf>,
}

/// `cortend registry serve`
#[derive(Debug, Args)]
pub struct RegistryOptions {
    /// Where the content is.
    #[command(flatten)]
    pub store: RegistryStore,
    /// Check the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// Address to listen on [default: 127.0.0.1:5000]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<SocketAddr>,
    /// Users who may come in (bcrypt, as htpasswd -B writes it); without it everyone may
    #[arg(long, value_name = "PATH")]
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain (PEM)
    #[arg(long, requires = "tls_key", value_name = "PATH")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM)
    #[arg(long, requires = "tls_cert", value_name = "PATH")]
    pub tls_key: Option<PathBuf>,
    /// Serve numbers for Prometheus on this address
    #[arg(long, value_name = "HOST:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Take and remove nothing
    #[arg(long)]
    pub read_only: bool,
    /// Say more
    #[arg(short = 'D', long)]
    pub debug: bool,
}

/// Where the daemon's options come from.
#[derive(Debug, Clone, Args)]
pub struct Source {
    /// Configuration file [default: /etc/corten/daemon.json]
    #[arg(long, value_name = "PATH")]
    pub config_file: Option<PathBuf>,
    /// Check the configuration and exit
    #[arg(long)]
    pub validate: bool,
    /// The directives.
    #[command(flatten)]
    pub flags: Flags,
}

/// Why the options cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file.
    #[error(transparent)]
    File(#[from] daemon_json::Error),
    /// A directive's value, wherever it stands.
    #[error("invalid configuration: {0}")]
    Value(String),
}

impl Source {
    /// Reads the file as it is now, and puts it together with the flags.
    ///
    /// # Errors
    /// As the variants say; nothing was changed.
    pub fn read(&self) -> Result<Options, Error> {
        let named = self.config_file.is_some();
        let path = self.config_file.clone().unwrap_or_else(|| FILE.into());
        let directives = daemon_json::load(&path, named, &self.flags.0)?;
        let options = Options::new(directives, |name| std::env::var(name).ok().filter(|v| !v.is_empty()))
            .map_err(Error::Value)?;
        options.engine.settings.check().map_err(|e| Error::Value(e.message()))?;
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from([
            "cortend",
            "-H",
            "unix:///a",
            "--host=fd://",
            "--bip",
            "10.1.0.1/24",
            "-D",
            "--icc=false",
            "--tls=0",
            "--log-opt",
            "max-size=1m",
            "--log-opt",
            "max-file=2",
            "--shutdown-timeout",
            "-1",
        ]);
        let shown = serde_json::Value::Object(cli.daemon.flags.0.clone());
        assert_eq!(
            shown,
            serde_json::json!({
                "hosts": ["unix:///a", "fd://"], "bip": "10.1.0.1/24", "debug": true, "icc": false, "tls": false,
                "log-opts": { "max-size": "1m", "max-file": "2" }, "shutdown-timeout": -1,
            })
        );
        assert!(Cli::try_parse_from(["cortend", "registry", "serve", "--tls-cert", "x"]).is_err());
        assert!(Cli::try_parse_from(["cortend", "--mtu", "x"]).is_err());
        // What is refused is known.
        assert!(Cli::try_parse_from(["cortend", "--userns-remap", "default"]).is_ok());
    }
}
