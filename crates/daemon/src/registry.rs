//! `cortend registry serve`: the registry server, without an engine.

use tokio::sync::oneshot;

use crate::config::RegistryOptions;

/// Serves until `stop` completes.
///
/// # Errors
/// The address, the root, the users or the certificate cannot be used.
pub async fn serve(
    options: RegistryOptions,
    stop: impl Future<Output = ()> + Send,
) -> Result<(), ::registry::Error> {
    let config = ::registry::server::Config {
        listen: options.listen,
        root: options.root,
        htpasswd: options.htpasswd,
        tls: options.tls_cert.zip(options.tls_key),
    };
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let root = config.root.display().to_string();
    let (ready, bound) = oneshot::channel();
    let announce = async {
        if let Ok(address) = bound.await {
            tracing::info!(%scheme, %address, %root, "registry is ready");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = ::registry::server::serve(config, ready, stop) => served,
        () = announce => Ok(()),
    }
}
