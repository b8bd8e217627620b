//! `cortend registry …`: the registry server, without an engine.

use std::path::PathBuf;

use ::registry::client::Proxies;
use ::registry::server::{self, Collected, Config, Control};
use tokio::sync::oneshot;

use crate::config::{RegistryOptions, RegistryStore};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

impl RegistryStore {
    /// The file's words, and what the flags add to them.
    fn config(&self) -> Outcome<Config> {
        let file = match &self.config {
            Some(path) => Some(path.clone()),
            None => Some(server::default_file()).filter(|path| path.exists()),
        };
        let mut config = match &file {
            Some(path) => Config::read(path)?,
            None => Config::default(),
        };
        if let Some(root) = &self.root {
            if config.has_place() {
                return Err(twice("root", file));
            }
            config.root.clone_from(root);
        }
        config.proxies = Proxies::of_environment(|name| std::env::var(name).ok());
        Ok(config)
    }
}

impl RegistryOptions {
    /// What to serve, and how.
    ///
    /// # Errors
    /// The file cannot be read, or something is wrong or given twice: its name is told.
    pub fn config(&self) -> Outcome<Config> {
        let file = self.store.config.clone();
        let mut config = self.store.config()?;
        let default = Config::default();
        if let Some(listen) = self.listen {
            if config.listen != default.listen {
                return Err(twice("listen", file));
            }
            config.listen = listen;
        }
        if let Some(htpasswd) = &self.htpasswd
            && config.htpasswd.replace(htpasswd.clone()).is_some()
        {
            return Err(twice("htpasswd", file));
        }
        if let Some(tls) = self.tls_cert.clone().zip(self.tls_key.clone())
            && config.tls.replace(tls).is_some()
        {
            return Err(twice("tls", file));
        }
        if let Some(metrics) = self.metrics
            && config.metrics.replace(metrics).is_some()
        {
            return Err(twice("metrics", file));
        }
        config.read_only |= self.read_only;
        config.check().map_err(|e| format!("invalid configuration: {e}"))?;
        Ok(config)
    }
}

fn twice(key: &str, file: Option<PathBuf>) -> Box<dyn std::error::Error + Send + Sync> {
    let file = file.unwrap_or_else(server::default_file);
    format!("{key} is given as a flag and in {}: give it once", file.display()).into()
}

/// Serves until `stop` completes.
///
/// # Errors
/// The address, the storage, the users or the certificate cannot be used.
pub async fn serve(config: Config, control: Control, stop: impl Future<Output = ()> + Send) -> Outcome<()> {
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(error = crate::error::chain(&error), "the limit of descriptors stays as it is");
    }
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let place = config.place();
    let (ready, bound) = oneshot::channel();
    let announce = async {
        if let Ok(address) = bound.await {
            tracing::info!(%scheme, %address, place, "registry is ready");
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        served = server::serve(config, control, ready, stop) => Ok(served?),
        () = announce => Ok(()),
    }
}

/// Collects what nobody refers to; the lines to print.
///
/// # Errors
/// The storage is in use, or cannot be read.
pub async fn gc(store: &RegistryStore, dry: bool) -> Outcome<Vec<String>> {
    let Collected { tags, manifests, links, uploads, blobs, bytes } =
        server::collect(&store.config()?, dry).await?;
    let verb = if dry { "would remove" } else { "removed" };
    let mut lines: Vec<String> = tags.iter().map(|tag| format!("{verb} tag {tag}")).collect();
    lines.extend(manifests.iter().map(|manifest| format!("{verb} manifest {manifest}")));
    lines.push(format!("{verb} {blobs} blobs of {bytes} bytes, {links} links, {uploads} uploads"));
    Ok(lines)
}

/// Reads everything; the lines to print, one for each damage.
///
/// # Errors
/// The storage is in use, or cannot be read.
pub async fn check(store: &RegistryStore) -> Outcome<Vec<String>> {
    Ok(server::check(&store.config()?).await?.iter().map(ToString::to_string).collect())
}
