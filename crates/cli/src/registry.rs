//! Registries, without an engine: `cortend registry ask` speaks to them for us.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use serde::de::DeserializeOwned;
use spec::Reference;
use spec::api::Progress;
use spec::oci::image::{Descriptor, Image, Manifest, Platform};
use spec::registry::{Ask, Found, Told, Verb};

use crate::app::App;
use crate::autostart;
use crate::error::{Error, Result};

/// Asks, and returns what was found or done.
#[allow(clippy::disallowed_methods, reason = "the registry client is part of the daemon's program")]
pub(crate) fn ask<T: DeserializeOwned>(
    app: &App,
    reference: &Reference,
    insecure: bool,
    verb: Verb,
    mut progress: impl FnMut(Progress),
) -> Result<T> {
    let config = app.config()?;
    let verb = match verb {
        Verb::Copy { to, to_auth: None } => {
            let auth = config.credentials_of(&to.parse().map_err(invalid(&to))?);
            Verb::Copy { to, to_auth: auth }
        }
        verb => verb,
    };
    let ask =
        Ask { verb, reference: reference.to_string(), auth: config.credentials_of(reference), insecure };
    let daemon = autostart::find_daemon()
        .ok_or_else(|| Error::invalid("cortend is neither beside corten nor in PATH"))?;
    let mut child = std::process::Command::new(&daemon)
        .args(["registry", "ask"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Error::file("cannot run", &daemon))?;
    if let Some(mut stdin) = child.stdin.take() {
        let question = serde_json::to_vec(&ask).expect("plain data serialises");
        // If it has ended, it says why.
        let _ = stdin.write_all(&question);
    }
    let mut answer = Err(Error::invalid(format!("{} ended without an answer", daemon.display())));
    for line in BufReader::new(child.stdout.take().expect("it is a pipe")).lines() {
        let line = line.map_err(|source| Error::Io { what: "cannot read from cortend", source })?;
        match serde_json::from_str(&line) {
            Ok(Told::Progress(line)) => progress(line),
            Ok(Told::Done(value)) => {
                answer = serde_json::from_value(value)
                    .map_err(|e| Error::invalid(format!("cortend's answer: {e}")));
            }
            Ok(Told::Failed(text)) => answer = Err(Error::invalid(text)),
            Err(e) => answer = Err(Error::invalid(format!("cortend's answer: {e}"))),
        }
    }
    child.wait().map_err(Error::file("cannot wait for", &daemon))?;
    answer
}

/// A text that is no reference.
pub(crate) fn invalid<E: std::fmt::Display>(text: &str) -> impl FnOnce(E) -> Error {
    let text = text.to_owned();
    move |error| Error::invalid(format!("{error}: {text}"))
}

/// A reference of the user's, `latest` if it says no tag.
pub(crate) fn reference(text: &str) -> Result<Reference> {
    text.parse::<Reference>().map(Reference::or_latest).map_err(invalid(text))
}

/// A manifest or index as the registry has it.
pub(crate) fn manifest(app: &App, reference: &Reference, insecure: bool) -> Result<Found> {
    ask(app, reference, insecure, Verb::Manifest, |_| {})
}

/// What an image runs on, by its configuration.
pub(crate) fn platform(
    app: &App,
    reference: &Reference,
    insecure: bool,
    manifest: &Manifest,
) -> Result<Platform> {
    let text: String = ask(app, reference, insecure, Verb::Blob(manifest.config.clone()), |_| {})?;
    let image: Image = serde_json::from_str(&text)
        .map_err(|e| Error::invalid(format!("the configuration of {}: {e}", reference.familiar())))?;
    Ok(Platform {
        architecture: image.architecture,
        os: image.os,
        os_version: image.os_version,
        variant: image.variant,
        os_features: Vec::new(),
    })
}

/// Copies an image, with all that belongs to it.
pub(crate) fn copy(
    app: &App,
    from: &Reference,
    to: &Reference,
    insecure: bool,
    progress: impl FnMut(Progress),
) -> Result<Descriptor> {
    ask(app, from, insecure, Verb::Copy { to: to.to_string(), to_auth: None }, progress)
}
