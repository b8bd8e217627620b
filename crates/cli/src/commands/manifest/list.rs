//! Lists in the making, where Docker's client has them: `manifests/<list>/<image>` beside config.json, a file for each
//! image of a list.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::Reference;
use spec::oci::image::{Descriptor, Index, media};

use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::{file, registry};

/// One image of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Entry {
    #[serde(rename = "Ref")]
    pub(crate) reference: String,
    /// With its platform.
    pub(crate) descriptor: Descriptor,
    /// The manifest's bytes, base64.
    #[serde(default)]
    raw: String,
    #[serde(flatten)]
    manifest: serde_json::Map<String, Value>,
}

impl Entry {
    /// An image as its registry has it; a list is none.
    pub(crate) fn fetch(app: &App, reference: &Reference, insecure: bool) -> Result<Self> {
        let found = registry::manifest(app, reference, insecure)?;
        if media::is_index(&found.descriptor.media_type) {
            return Err(Error::invalid(format!("{} is a manifest list", reference.familiar())));
        }
        let invalid = |e: serde_json::Error| Error::invalid(format!("{}: {e}", reference.familiar()));
        let manifest = serde_json::from_str(&found.bytes).map_err(invalid)?;
        let platform = registry::platform(app, reference, insecure, &manifest)?;
        let key =
            if found.descriptor.media_type == media::MANIFEST { "OCIManifest" } else { "SchemaV2Manifest" };
        let mut descriptor = found.descriptor;
        descriptor.platform = Some(platform);
        let parsed: Value = serde_json::from_str(&found.bytes).map_err(invalid)?;
        Ok(Self {
            reference: reference.to_string(),
            descriptor,
            raw: STANDARD.encode(found.bytes),
            manifest: [(key.to_owned(), parsed)].into_iter().collect(),
        })
    }

    /// The manifest itself.
    pub(crate) fn manifest(&self) -> &Value {
        self.manifest
            .get("OCIManifest")
            .or_else(|| self.manifest.get("SchemaV2Manifest"))
            .unwrap_or(&Value::Null)
    }
}

/// A reference as a file's name.
fn safe(reference: &Reference) -> String {
    reference.to_string().replace(':', "-").replace('/', "_")
}

fn directory(app: &App, list: &Reference) -> Result<PathBuf> {
    Ok(app.config()?.directory().join("manifests").join(safe(list)))
}

/// The images of a list; none when there is no such list.
pub(crate) fn read(app: &App, list: &Reference) -> Result<Vec<Entry>> {
    let directory = directory(app, list)?;
    let files = match std::fs::read_dir(&directory) {
        Ok(files) => files,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("cannot read", directory)(error)),
    };
    let mut entries = Vec::new();
    for path in files.flatten().map(|file| file.path()) {
        let bytes = std::fs::read(&path).map_err(Error::file("cannot read", &path))?;
        let entry: Entry = serde_json::from_slice(&bytes)
            .map_err(|e| Error::invalid(format!("{} is damaged: {e}", path.display())))?;
        entries.push(entry);
    }
    entries.sort_by(|a, b| a.reference.cmp(&b.reference));
    Ok(entries)
}

/// Puts an image into a list.
pub(crate) fn write(app: &App, list: &Reference, image: &Reference, entry: &Entry) -> Result<()> {
    let directory = directory(app, list)?;
    std::fs::create_dir_all(&directory).map_err(Error::file("cannot create", &directory))?;
    let bytes = serde_json::to_vec(entry).expect("text keys only");
    file::replace(&directory.join(safe(image)), &bytes, 0o644)
}

/// Forgets a list; whether there was one.
pub(crate) fn remove(app: &App, list: &Reference) -> Result<bool> {
    let directory = directory(app, list)?;
    match std::fs::remove_dir_all(&directory) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("cannot remove", directory)(error)),
    }
}

/// The list as it is pushed and shown, in the bytes that Docker's client makes of it: media type and JSON.
pub(crate) fn index(entries: &[Entry]) -> (&'static str, String) {
    let first = entries.first().map(|entry| entry.descriptor.media_type.as_str());
    let media_type = if first == Some(media::MANIFEST) { media::INDEX } else { media::DOCKER_LIST };
    let index = Index {
        schema_version: 2,
        media_type: media_type.into(),
        manifests: entries.iter().map(|entry| entry.descriptor.clone()).collect(),
        annotations: BTreeMap::new(),
    };
    (media_type, Json::of(&index).pretty("", "   "))
}
