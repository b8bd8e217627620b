//! `corten context inspect`.

use std::ops::RangeInclusive;

use super::store;
use crate::app::App;
use crate::commands::system::inspect;
use crate::context::{CERTIFICATES, DEFAULT, Store};
use crate::endpoint;
use crate::error::Result;
use crate::json::Json;
use crate::list::object;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format output with a template, or "json"
    #[arg(short, long, default_value = "")]
    format: String,
    names: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] [CONTEXT] [CONTEXT...]";
    const ABOUT: &'static str = "Display detailed information on one or more contexts";
    const WORDS: RangeInclusive<usize> = 0..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let store = store(app)?;
        let names = if self.names.is_empty() { vec![app.context()?] } else { self.names };
        let store = &store;
        inspect::show(&names, &self.format, |name| async move {
            let described = if name == DEFAULT { by_default(app)? } else { on_disk(store, &name)? };
            Ok(described.compact().into())
        })
        .await
    }
}

fn by_default(app: &App) -> Result<Json> {
    let endpoint = endpoint::resolve_default(app.globals(), app.config()?)?;
    let tls = endpoint.tls.unwrap_or_default();
    let docker =
        object(vec![("Host", endpoint.host.to_string().into()), ("SkipTLSVerify", tls.skip_verify.into())]);
    let parts = [tls.ca.is_some(), tls.certificate.is_some(), tls.key.is_some()];
    Ok(describe(
        DEFAULT,
        object(vec![]),
        object(vec![("docker", docker)]),
        parts,
        ["<IN MEMORY>"; 2].map(String::from),
    ))
}

fn on_disk(store: &Store, name: &str) -> Result<Json> {
    let meta = store.read(name)?;
    let tls = store.read_tls(name)?;
    let places = [store.meta_dir(name), store.tls_dir(name)].map(|path| path.display().to_string());
    let parts = [tls.ca.is_some(), tls.certificate.is_some(), tls.key.is_some()];
    Ok(describe(&meta.name, Json::of(&meta.metadata), Json::of(&meta.endpoints), parts, places))
}

fn describe(name: &str, metadata: Json, endpoints: Json, parts: [bool; 3], [meta, tls]: [String; 2]) -> Json {
    let there: Vec<Json> =
        CERTIFICATES.iter().zip(parts).filter(|(_, there)| *there).map(|(name, _)| (*name).into()).collect();
    let material = if there.is_empty() { vec![] } else { vec![("docker", Json::List(there))] };
    object(vec![
        ("Name", name.into()),
        ("Metadata", metadata),
        ("Endpoints", endpoints),
        ("TLSMaterial", object(material)),
        ("Storage", object(vec![("MetadataPath", meta.into()), ("TLSPath", tls.into())])),
    ])
}
