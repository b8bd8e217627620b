//! `corten manifest inspect`.

use std::ops::RangeInclusive;

use serde_json::{Value, json};
use spec::oci::image::{Index, media};
use spec::{Reference, oci::image::Descriptor};

use super::list::{self, Entry};
use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::verb::Verb;
use crate::{print, registry};

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Speak to a registry without verified TLS
    #[arg(long)]
    insecure: bool,
    /// Show each image's manifest and platform too
    #[arg(short, long)]
    verbose: bool,
    words: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] [MANIFEST_LIST] MANIFEST";
    const ABOUT: &'static str = "Show an image's manifest, or a list of manifests";
    const WORDS: RangeInclusive<usize> = 1..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let shown = match self.words.as_slice() {
            [name, image] => {
                let (name, image) = (registry::reference(name)?, registry::reference(image)?);
                let entries = list::read(app, &name)?;
                let wanted = image.to_string();
                let entry = entries.into_iter().find(|entry| entry.reference == wanted);
                let entry =
                    entry.ok_or_else(|| Error::invalid(format!("No such manifest: {}", image.familiar())))?;
                pretty(&if self.verbose { described(&entry) } else { entry.manifest().clone() })
            }
            [name, ..] => self.one(app, &registry::reference(name)?)?,
            [] => return Err(Error::invalid("nothing to inspect")),
        };
        print::line(shown);
        Ok(0)
    }
}

impl Inspect {
    /// A list that is in the making here, else what the registry has.
    fn one(&self, app: &App, name: &Reference) -> Result<String> {
        let entries = list::read(app, name)?;
        if !entries.is_empty() {
            let all = || pretty(&entries.iter().map(described).collect::<Value>());
            return Ok(if self.verbose { all() } else { list::index(&entries).1 });
        }
        let found = registry::manifest(app, name, self.insecure).map_err(|error| match error {
            Error::Invalid(text) if text.ends_with("manifest unknown: manifest unknown") => {
                Error::invalid(format!("no such manifest: {name}"))
            }
            other => other,
        })?;
        let invalid = |e: serde_json::Error| Error::invalid(format!("{}: {e}", name.familiar()));
        let is_index = media::is_index(&found.descriptor.media_type);
        if !self.verbose {
            // In the registry's order.
            let indent = if is_index { "   " } else { "\t" };
            return Ok(Json::parse(found.bytes.as_bytes()).map_err(invalid)?.pretty("", indent));
        }
        if !is_index {
            return Ok(pretty(&described(&Entry::fetch(app, name, self.insecure)?)));
        }
        let index: Index = serde_json::from_str(&found.bytes).map_err(invalid)?;
        let of = |descriptor: &Descriptor| {
            let one = Reference { tag: None, digest: Some(descriptor.digest), ..name.clone() };
            let mut entry = Entry::fetch(app, &one, self.insecure)?;
            if let Some(platform) = &descriptor.platform {
                entry.descriptor.platform = Some(platform.clone());
            }
            Ok(described(&entry))
        };
        Ok(pretty(&index.manifests.iter().map(of).collect::<Result<Value>>()?))
    }
}

fn pretty(value: &Value) -> String {
    Json::of(value).pretty("", "\t")
}

fn described(entry: &Entry) -> Value {
    let key = if entry.descriptor.media_type == media::MANIFEST { "OCIManifest" } else { "SchemaV2Manifest" };
    json!({ "Ref": entry.reference, "Descriptor": entry.descriptor, key: entry.manifest() })
}
