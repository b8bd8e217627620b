//! The command line, and what it means.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};

use crate::hello;

/// The container engine's daemon.
#[derive(Debug, Parser)]
#[command(name = "cortend", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// Something else than the daemon.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The daemon's options.
    #[command(flatten)]
    pub daemon: Options,
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
    Serve(RegistryOptions),
}

/// `cortend registry serve`
#[derive(Debug, Args)]
pub struct RegistryOptions {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:5000")]
    pub listen: SocketAddr,
    /// Directory that keeps the content
    #[arg(long, default_value = "/var/lib/corten-registry")]
    pub root: PathBuf,
    /// Users who may come in (bcrypt, as htpasswd -B writes it); without it everyone may
    #[arg(long)]
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain (PEM)
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM)
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Say more
    #[arg(short = 'D', long)]
    pub debug: bool,
}

/// The daemon's options.
#[derive(Debug, Args)]
pub struct Options {
    /// Socket to listen on (repeatable) [default: unix://<exec-root>/corten.sock]
    #[arg(short = 'H', long = "host", value_parser = parse_host)]
    pub hosts: Vec<Host>,
    /// Directory of what outlives a boot
    #[arg(long, default_value = "/var/lib/corten")]
    pub data_root: PathBuf,
    /// Directory of what does not
    #[arg(long, default_value = "/run/corten")]
    pub exec_root: PathBuf,
    /// Interface of the default network
    #[arg(short = 'b', long, default_value = "corten0")]
    pub bridge: String,
    /// Address and prefix of the default network's bridge
    #[arg(long, value_parser = parse_cidr)]
    pub bip: Option<(Ipv4Addr, u8)>,
    /// Addresses for new networks (repeatable): base=10.0.0.0/8,size=24
    #[arg(long = "default-address-pool", value_parser = parse_pool)]
    pub pools: Vec<(Ipv4Addr, u8, u8)>,
    /// Our nftables table
    #[arg(long, default_value = "corten")]
    pub firewall_table: String,
    /// Parent cgroup of all containers
    #[arg(long, default_value = "/corten")]
    pub cgroup_parent: String,
    /// The corten-shim program [default: beside this program, else /usr/libexec/corten/corten-shim]
    #[arg(long)]
    pub shim: Option<PathBuf>,
    /// Registry to speak to without verified TLS, HOST:PORT or CIDR (repeatable)
    #[arg(long = "insecure-registry")]
    pub insecure_registries: Vec<String>,
    /// File that gets this process's pid
    #[arg(short = 'p', long)]
    pub pidfile: Option<PathBuf>,
    /// Group that may use the socket
    #[arg(short = 'G', long, default_value = "docker")]
    pub group: String,
    /// How many network namespaces to keep ready for the default network
    #[arg(long, default_value_t = 4)]
    pub network_ready: usize,
    /// Say more
    #[arg(short = 'D', long)]
    pub debug: bool,
    /// What to log: trace, debug, info, warn, error
    #[arg(short = 'l', long, default_value = "info", value_parser = ["trace", "debug", "info", "warn", "error", "fatal"])]
    pub log_level: String,
}

/// Where the API is offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A unix socket.
    Unix(PathBuf),
    /// TCP without TLS: loopback only.
    Tcp(SocketAddr),
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl Options {
    /// The sockets, the default one when none was named.
    pub fn listeners(&self) -> Vec<Host> {
        if self.hosts.is_empty() {
            return vec![Host::Unix(self.exec_root.join("corten.sock"))];
        }
        self.hosts.clone()
    }

    /// Where scratch files go: bodies and build contexts in flight.
    pub fn scratch(&self) -> PathBuf {
        self.data_root.join("tmp")
    }

    /// What the engine is told.
    pub fn engine(&self) -> engine::Config {
        engine::Config {
            data_root: self.data_root.clone(),
            exec_root: self.exec_root.clone(),
            cgroup_parent: self.cgroup_parent.clone(),
            shim: self.shim.clone().unwrap_or_else(default_shim),
            network: network::Config {
                state: self.data_root.join("network"),
                bridge: self.bridge.clone(),
                bip: self.bip,
                pools: self.pools.clone(),
                table: self.firewall_table.clone(),
                ready: self.network_ready,
            },
            insecure_registries: self.insecure_registries.clone(),
            built_in: built_in(),
        }
    }
}

/// The image that ships inside this program: its name and its docker-archive.
fn built_in() -> Option<(&'static str, &'static [u8])> {
    Some((hello::NAME, hello::ARCHIVE))
}

/// The shim beside this program, else the installed one.
fn default_shim() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("corten-shim"));
    beside.filter(|path| path.exists()).unwrap_or_else(|| "/usr/libexec/corten/corten-shim".into())
}

fn parse_host(text: &str) -> Result<Host, String> {
    if let Some(path) = text.strip_prefix("unix://") {
        if !Path::new(path).is_absolute() {
            return Err(format!("the socket's path must be absolute: unix:///{path}"));
        }
        return Ok(Host::Unix(path.into()));
    }
    if let Some(address) = text.strip_prefix("tcp://") {
        let address = address.replace("localhost", "127.0.0.1");
        let address: SocketAddr = address
            .parse()
            .map_err(|_| format!("{text} is not tcp://ADDRESS:PORT with a numeric address"))?;
        if !is_loopback(address.ip()) {
            return Err(format!(
                "{text} would let anyone who can reach it become root on this host: without TLS only \
                 loopback addresses are served; use the unix socket, or ssh"
            ));
        }
        return Ok(Host::Tcp(address));
    }
    Err(format!("{text} is neither unix:///PATH nor tcp://ADDRESS:PORT"))
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn parse_cidr(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let parsed = text
        .split_once('/')
        .and_then(|(ip, prefix)| Some((ip.parse().ok()?, prefix.parse().ok().filter(|p: &u8| *p <= 32)?)));
    parsed.ok_or_else(|| format!("{text} is not of the form 10.1.0.1/16"))
}

fn parse_pool(text: &str) -> Result<(Ipv4Addr, u8, u8), String> {
    let (mut base, mut size) = (None, None);
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("base", value)) => base = Some(parse_cidr(value)?),
            Some(("size", value)) => size = value.parse::<u8>().ok(),
            _ => return Err(format!("{part:?} is neither base=ADDRESS/PREFIX nor size=PREFIX")),
        }
    }
    match (base, size) {
        (Some((ip, prefix)), Some(size)) if size >= prefix && size <= 30 => Ok((ip, prefix, size)),
        _ => Err(format!("{text} is not of the form base=10.0.0.0/8,size=24 with a size inside the base")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_unix_or_loopback() {
        assert_eq!(parse_host("unix:///run/x.sock").unwrap(), Host::Unix("/run/x.sock".into()));
        assert_eq!(parse_host("tcp://localhost:2375").unwrap().to_string(), "tcp://127.0.0.1:2375");
        assert!(parse_host("tcp://[::1]:2375").is_ok());
        for bad in ["tcp://0.0.0.0:2375", "tcp://10.0.0.1:2375", "unix://x", "fd://", "/run/x.sock"] {
            assert!(parse_host(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn pools_hold_their_networks() {
        assert_eq!(parse_pool("base=10.0.0.0/8,size=24").unwrap(), (Ipv4Addr::new(10, 0, 0, 0), 8, 24));
        for bad in ["base=10.0.0.0/8", "base=10.0.0.0/24,size=16", "size=24", "x=1", "base=10/8,size=24"] {
            assert!(parse_pool(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["cortend", "-H", "unix:///a", "--bip", "10.1.0.1/24"]);
        assert_eq!(cli.daemon.listeners(), [Host::Unix("/a".into())]);
        assert!(Cli::try_parse_from(["cortend", "registry", "serve", "--tls-cert", "x"]).is_err());
    }
}
