//! The server's end: a registry on files.

use std::net::SocketAddr;
use std::path::PathBuf;

/// How to serve.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen; port 0 is any.
    pub listen: SocketAddr,
    /// Where content is kept.
    pub root: PathBuf,
    /// Users and bcrypt hashes (htpasswd); `None` lets everyone in.
    pub htpasswd: Option<PathBuf>,
    /// Certificate chain and key, PEM; `None` is plain HTTP.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Serves until `stop` completes; tells the bound address through `ready`.
///
/// # Errors
/// The address or the root cannot be used.
pub async fn serve(
    _config: Config,
    _ready: tokio::sync::oneshot::Sender<SocketAddr>,
    _stop: impl Future<Output = ()> + Send,
) -> Result<(), crate::Error> {
    todo!()
}
