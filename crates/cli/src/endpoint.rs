//! Which engine is meant: flags, variables, contexts, and what is there if nobody says anything.

use std::path::{Path, PathBuf};

use client::{Host, Tls};

use crate::app::env;
use crate::config::Config;
use crate::context::{self, CERTIFICATES, Store};
use crate::error::{Error, Result};
use crate::globals::Globals;

/// Where Corten's daemon listens unless told otherwise.
pub(crate) const CORTEN_SOCKET: &str = "unix:///run/corten/corten.sock";
/// Where Docker's does.
pub(crate) const DOCKER_SOCKET: &str = "unix:///var/run/docker.sock";

/// An engine, and how it is reached.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// The name of the context that says so.
    pub(crate) context: String,
    pub(crate) host: Host,
    pub(crate) tls: Option<Tls>,
    /// Somebody chose this engine: no other will do.
    pub(crate) chosen: bool,
}

/// The name of the context in force. Docker's order: `--context`, `-H`, `$DOCKER_HOST`, `$DOCKER_CONTEXT`, the
/// configuration's.
pub(crate) fn context_name(globals: &Globals, config: impl FnOnce() -> Option<String>) -> Result<String> {
    if globals.context.is_some() && !globals.hosts.is_empty() {
        return Err(Error::invalid("conflicting options: cannot specify both --host and --context"));
    }
    if let Some(name) = &globals.context {
        return Ok(name.clone());
    }
    if !globals.hosts.is_empty() || host_variable().is_some() {
        return Ok(context::DEFAULT.into());
    }
    Ok(env("DOCKER_CONTEXT").or_else(config).unwrap_or_else(|| context::DEFAULT.into()))
}

fn host_variable() -> Option<String> {
    env("CORTEN_HOST").or_else(|| env("DOCKER_HOST"))
}

/// The engine that is meant.
pub(crate) fn resolve(globals: &Globals, config: &Config) -> Result<Endpoint> {
    let name = context_name(globals, || config.text("currentContext").map(str::to_owned))?;
    let endpoint = if name == context::DEFAULT {
        resolve_default(globals, config)
    } else {
        by_context(&name, &Store::new(config.directory()))
    };
    endpoint.map_err(|error| {
        let what = match error {
            Error::Client(client::Error::InvalidSsh(_)) => "",
            _ => "unable to resolve docker endpoint: ",
        };
        Error::invalid(format!("Failed to initialize: {what}{}", error.line()))
    })
}

fn by_context(name: &str, store: &Store) -> Result<Endpoint> {
    let meta = store.read(name)?;
    let tls = Tls { skip_verify: meta.skip_verify(), ..store.read_tls(name)? };
    let tls = (tls != Tls::default()).then_some(tls);
    let host = match meta.host() {
        "" => DOCKER_SOCKET,
        host => host,
    };
    Ok(Endpoint { context: name.to_owned(), host: host.parse()?, tls, chosen: true })
}

/// The engine that flags and variables mean, contexts aside.
pub(crate) fn resolve_default(globals: &Globals, config: &Config) -> Result<Endpoint> {
    let chosen = match globals.hosts.as_slice() {
        [] => host_variable(),
        [host] => Some(host.clone()).filter(|host| !host.is_empty()),
        _ => return Err(Error::invalid("Specify only one -H")),
    };
    let tls = tls(globals, config.directory())?;
    // With TLS and no word about the place, Docker means this one.
    let chosen = chosen.or_else(|| tls.is_some().then(|| "tcp://localhost:2376".to_owned()));
    let host = chosen.as_deref().unwrap_or(CORTEN_SOCKET).parse()?;
    Ok(Endpoint { context: context::DEFAULT.into(), host, tls, chosen: chosen.is_some() })
}

/// The certificates that flags and variables ask for, read from their files.
fn tls(globals: &Globals, directory: &Path) -> Result<Option<Tls>> {
    let verify = globals.tls_verify.unwrap_or_else(|| env("DOCKER_TLS_VERIFY").is_some());
    let wanted = globals.tls.unwrap_or_else(|| env("DOCKER_TLS").is_some());
    // To say anything about verifying is to ask for TLS.
    if !(wanted || verify || globals.tls_verify.is_some()) {
        return Ok(None);
    }
    let directory = env("DOCKER_CERT_PATH").map_or_else(|| directory.to_owned(), PathBuf::from);
    let [ca, certificate, key] = CERTIFICATES.map(|name| directory.join(name));
    let read = |path: &Path| std::fs::read(path).map_err(Error::file("open", path));
    // Only the client's own certificate may be missing, and only if nobody named it.
    let own = |named: &Option<PathBuf>, usual: &Path| match named {
        Some(path) if path.as_os_str().is_empty() => Ok(None),
        Some(path) => read(path).map(Some),
        None => context::optional(usual),
    };
    let ca = globals.tls_ca.as_deref().unwrap_or(&ca);
    Ok(Some(Tls {
        ca: if ca.as_os_str().is_empty() { None } else { Some(read(ca)?) },
        certificate: own(&globals.tls_certificate, &certificate)?,
        key: own(&globals.tls_key, &key)?,
        skip_verify: !verify,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_by_name_goes_before_the_configurations() {
        let config = || Some("mine".to_owned());
        let globals = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            Globals::read(&words).unwrap().0
        };
        assert_eq!(context_name(&globals(&["-c", "x"]), config).unwrap(), "x");
        assert_eq!(context_name(&globals(&["-H", "tcp://a"]), config).unwrap(), "default");
        assert!(context_name(&globals(&["-H", "tcp://a", "-c", "x"]), config).is_err());
    }
}
