//! `corten context create`.

use std::ops::RangeInclusive;
use std::path::Path;

use client::{Host, Tls};

use super::store;
use crate::app::App;
use crate::context::{self, DEFAULT, Meta};
use crate::endpoint;
use crate::error::{Error, Result};
use crate::flags::{csv, key_value};
use crate::print;
use crate::verb::{Verb, parse_bool};

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Description of the context
    #[arg(long, default_value = "")]
    description: String,
    /// Set the docker endpoint: "host=…,ca=…,cert=…,key=…,skip-tls-verify=…", or "from=…" for that of another context
    #[arg(long, value_name = "stringToString")]
    docker: Vec<String>,
    /// Create context from a named context
    #[arg(long, default_value = "")]
    from: String,
    name: Vec<String>,
}

impl Verb for Create {
    const USAGE: &'static str = "[OPTIONS] CONTEXT";
    const ABOUT: &'static str = "Create a context";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = &self.name[0];
        context::check_name(name)?;
        let store = store(app)?;
        if store.exists(name) {
            return Err(Error::invalid(format!("context {name:?} already exists")));
        }
        if !self.from.is_empty() && !self.docker.is_empty() {
            return Err(Error::invalid("cannot use --docker flag when --from is set"));
        }
        let mut meta = Meta { name: name.clone(), ..Meta::default() };
        // Without a word about the engine, it is the one in force.
        let from = match self.from.as_str() {
            "" if self.docker.is_empty() => app.context()?,
            from => from.to_owned(),
        };
        let tls = if from.is_empty() {
            configure(app, &mut meta, &self.docker)?
        } else {
            copy(app, &mut meta, &from)?
        };
        if !self.description.is_empty() {
            meta.describe(&self.description);
        }
        store.write_tls(name, &tls)?;
        store.write(&meta)?;
        print::line(name);
        print::err_line(format!("Successfully created context {name:?}"));
        Ok(0)
    }
}

/// What another context says of its engine, and its description.
fn copy(app: &App, meta: &mut Meta, from: &str) -> Result<Tls> {
    if from == DEFAULT {
        let endpoint = endpoint::resolve_default(app.globals(), app.config()?)?;
        let tls = endpoint.tls.unwrap_or_default();
        meta.point_at(&endpoint.host.to_string(), tls.skip_verify);
        return Ok(tls);
    }
    let store = store(app)?;
    let other = store.read(from)?;
    meta.metadata = other.metadata;
    meta.endpoints = other.endpoints;
    store.read_tls(from)
}

/// Reads `--docker`; the certificates are those to keep with the context.
pub(super) fn configure(app: &App, meta: &mut Meta, words: &[String]) -> Result<Tls> {
    let mut tls = Tls::default();
    let mut host = String::new();
    let invalid =
        |reason: String| Error::invalid(format!("unable to create docker endpoint config: {reason}"));
    for field in words
        .iter()
        .map(|word| csv(word))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(invalid)?
        .concat()
    {
        let (key, value) = key_value(&field).map_err(invalid)?;
        let read = || std::fs::read(Path::new(value)).map(Some).map_err(Error::file("open", value));
        match key.as_str() {
            "host" => value.clone_into(&mut host),
            "from" => {
                let tls = copy(app, meta, value)?;
                return Ok(tls);
            }
            "ca" => tls.ca = read()?,
            "cert" => tls.certificate = read()?,
            "key" => tls.key = read()?,
            "skip-tls-verify" => tls.skip_verify = parse_bool(value).map_err(invalid)?,
            key => return Err(invalid(format!("unrecognized config key: {key}"))),
        }
    }
    let secured = tls != Tls::default();
    if !host.is_empty() {
        host.parse::<Host>().map_err(|error| invalid(error.to_string()))?;
    } else if secured {
        return Err(invalid("certificates need a host to go with".into()));
    }
    meta.point_at(&host, tls.skip_verify);
    Ok(tls)
}
