//! What a build is to do that only Corten's engine knows.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use client::{Client, Host};
use spec::api::BuildWish;

use super::Build;
use super::git::Checkout;
use crate::error::{Error, Result};
use crate::flags::{csv, key_value, secret};

/// The most that all secrets may take, in base64.
const LONGEST_SECRETS: usize = 200_000;

/// The wish, the directories that go with it, and what some of them are in: to be kept as long as the engine reads.
pub(super) fn of(build: &Build, client: &Client) -> Result<(BuildWish, Vec<OwnedFd>, Vec<Checkout>)> {
    let mut descriptors = Vec::new();
    let mut checkouts = Vec::new();
    let mut wish = BuildWish {
        no_cache_filter: build.no_cache_filter.clone(),
        platforms: if build.platform.len() > 1 { build.platform.clone() } else { Vec::new() },
        allow: build.allow.clone(),
        squash: build.squash,
        events: true,
        outputs: outputs(build)?,
        annotations: build.annotation.clone(),
        call: call(build)?,
        ..BuildWish::default()
    };
    if !build.provenance.is_empty() {
        wish.attest.insert("provenance".into(), build.provenance.clone());
    }
    if !build.sbom.is_empty() {
        wish.attest.insert("sbom".into(), build.sbom.clone());
    }
    for text in &build.attest {
        let mut fields = fields(text)?;
        let kind = fields.remove("type").unwrap_or_default();
        let value: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        wish.attest.insert(kind, if value.is_empty() { "true".into() } else { value.join(",") });
    }
    for text in &build.cache_from {
        let mut fields = fields(text)?;
        if let Some(path) = fields.get("src").cloned() {
            if !matches!(client.host(), Host::Unix(_)) {
                return Err(Error::invalid("cache-from type=local needs an engine on the same machine"));
            }
            // One that is not there yet is empty.
            let Ok(directory) = open(Path::new(&path)) else { continue };
            fields.insert("src".into(), format!("fd:{}", descriptors.len()));
            descriptors.push(directory);
        }
        wish.cache_from.push(fields);
    }
    wish.cache_to = caches(build)?;
    for text in &build.build_context {
        let (name, place) = text
            .split_once('=')
            .ok_or_else(|| Error::invalid(format!("invalid build context {text}: expected name=value")))?;
        // The engine has not the user's keys, and reads no path that a word names.
        let own = ["git@", "ssh://", "file://"].iter().any(|scheme| place.starts_with(scheme));
        let checkout = if own { Checkout::of(place)? } else { None };
        let directory = checkout.as_ref().map(Checkout::directory).transpose()?;
        checkouts.extend(checkout);
        let place = if directory.is_none() && place.contains("://") {
            place.to_owned()
        } else if matches!(client.host(), Host::Unix(_)) {
            descriptors.push(open(directory.as_deref().unwrap_or(Path::new(place)))?);
            format!("fd:{}", descriptors.len() - 1)
        } else {
            return Err(Error::invalid(format!(
                "build context {name}: a directory can be given to an engine on the same machine only"
            )));
        };
        wish.contexts.insert(name.to_owned(), place);
    }
    for text in &build.secret {
        let (name, content) = secret::of_build(text).map_err(Error::Invalid)?;
        wish.secrets.insert(name, content);
    }
    // They travel in a header.
    if wish.secrets.values().map(String::len).sum::<usize>() > LONGEST_SECRETS {
        return Err(Error::invalid(format!(
            "the secrets are longer than {} kB together",
            LONGEST_SECRETS / 1000
        )));
    }
    for text in &build.ssh {
        let (id, path) = match text.split_once('=') {
            Some((id, path)) => (id.to_owned(), path.to_owned()),
            None => {
                let path = crate::app::env("SSH_AUTH_SOCK").ok_or_else(|| {
                    Error::invalid(format!(
                        "invalid empty ssh agent socket: --ssh {text} needs SSH_AUTH_SOCK"
                    ))
                })?;
                (text.clone(), path)
            }
        };
        let is_socket = std::fs::metadata(&path).map(|metadata| metadata.file_type().is_socket());
        if !is_socket.map_err(Error::file("no ssh agent at", &path))? {
            return Err(Error::invalid(format!(
                "--ssh {text}: {path} is not the socket of an ssh agent: add the key to one (ssh-add {path}) and use --ssh {id}"
            )));
        }
        wish.ssh.insert(id, path);
    }
    wish.descriptors = descriptors.len();
    Ok((wish, descriptors, checkouts))
}

/// `--output`, `--push` and `--load`.
pub(super) fn outputs(build: &Build) -> Result<Vec<BTreeMap<String, String>>> {
    let mut outputs = Vec::new();
    for text in &build.output {
        let output = match text.as_str() {
            "-" => BTreeMap::from([("type".into(), "tar".into()), ("dest".into(), "-".into())]),
            path if !path.contains('=') => {
                BTreeMap::from([("type".into(), "local".into()), ("dest".into(), path.to_owned())])
            }
            text => fields(text)?,
        };
        outputs.push(output);
    }
    if build.push {
        match outputs.first_mut().filter(|output| output.get("type").is_some_and(|kind| kind == "image")) {
            Some(output) => drop(output.insert("push".into(), "true".into())),
            None => outputs.push(BTreeMap::from([("type".into(), "registry".into())])),
        }
    }
    if build.load && !outputs.is_empty() {
        outputs.push(BTreeMap::from([("type".into(), "image".into())]));
    }
    Ok(outputs)
}

/// `--cache-to`.
pub(super) fn caches(build: &Build) -> Result<Vec<BTreeMap<String, String>>> {
    build.cache_to.iter().map(|text| fields(text)).collect()
}

fn call(build: &Build) -> Result<String> {
    let call = build.call.split(',').next().unwrap_or_default();
    Ok(match call {
        "build" if build.check => "check".into(),
        "build" => String::new(),
        "lint" => "check".into(),
        call => call.to_owned(),
    })
}

/// `type=a,b=c`; a word alone is a name in a registry.
fn fields(text: &str) -> Result<BTreeMap<String, String>> {
    if !text.contains('=') {
        return Ok(BTreeMap::from([("type".into(), "registry".into()), ("ref".into(), text.to_owned())]));
    }
    csv(text)
        .map_err(Error::Invalid)?
        .iter()
        .map(|field| {
            let (name, value) = key_value(field).map_err(Error::Invalid)?;
            Ok((name, value.to_owned()))
        })
        .collect()
}

/// A directory, to be read by the engine.
pub(super) fn open(path: &Path) -> Result<OwnedFd> {
    let file = std::fs::File::open(path).map_err(Error::file("unable to prepare context:", path))?;
    if !file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err(Error::invalid(format!(
            "unable to prepare context: not a directory: {}",
            path.display()
        )));
    }
    Ok(file.into())
}

/// The same wish for an engine that descriptors do not reach.
pub(super) fn without_descriptors(wish: &mut BuildWish) -> Result<()> {
    if let Some((name, _)) = wish.contexts.iter().find(|(_, place)| place.starts_with("fd:")) {
        return Err(Error::invalid(format!(
            "build context {name}: a directory can be given to an engine on the same machine only"
        )));
    }
    (wish.context, wish.descriptors) = (String::new(), 0);
    Ok(())
}

/// Refuses what another engine's classic builder cannot do.
pub(super) fn nothing_beyond(build: &Build) -> Result<()> {
    let given = [
        ("--annotation", !build.annotation.is_empty()),
        ("--attest", !build.attest.is_empty()),
        ("--cache-to", !build.cache_to.is_empty()),
        ("--call", build.call != "build" || build.check),
        ("--metadata-file", !build.metadata_file.is_empty()),
        ("--output", !build.output.is_empty()),
        ("--provenance", !build.provenance.is_empty()),
        ("--push", build.push),
        ("--allow", !build.allow.is_empty()),
        ("--build-context", !build.build_context.is_empty()),
        ("--no-cache-filter", !build.no_cache_filter.is_empty()),
        ("--platform with several platforms", build.platform.len() > 1),
        ("--sbom", !build.sbom.is_empty()),
        ("--secret", !build.secret.is_empty()),
        ("--squash", build.squash),
        ("--ssh", !build.ssh.is_empty()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::invalid(format!("{flag} needs Corten's engine: this one is another"))),
        None => Ok(()),
    }
}
