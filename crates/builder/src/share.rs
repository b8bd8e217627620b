//! `--cache-to` and `--cache-from`: what steps made, for other machines.
//!
//! A manifest whose layers are the steps' and whose configuration (`application/vnd.buildkit.cacheconfig.v0`) says which
//! key each belongs to: in a registry, in an OCI layout of the client's, or inside of the image itself. Keys are of
//! content, so they mean the same everywhere.

use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::sync::Arc;

use registry::client::credentials;
use serde::{Deserialize, Serialize};
use spec::oci::image::{Descriptor, Index, Manifest, media};
use spec::{Digest, Reference};
use store::{ChainId, Store};
use sys::root::Root;

use crate::cache::{Layer, Record};
use crate::error::{Error, Result};
use crate::op::blocking;
use crate::solve::Solver;
use crate::{Host, Request};

/// The configuration's media type, which is BuildKit's.
const CONFIG: &str = "application/vnd.buildkit.cacheconfig.v0";
/// No cache has a longer one.
const LIMIT: u64 = 64 << 20;

/// Where a cache comes from, or goes to.
#[derive(Debug, Clone)]
pub enum Place {
    /// A registry.
    Registry {
        /// Its name there.
        reference: Reference,
        /// All steps rather than those of the result.
        all: bool,
        /// A failure does not fail the build.
        lenient: bool,
    },
    /// A directory of the client's with an OCI layout: open when it is read, an output's number when it is written.
    Local {
        /// What is read.
        root: Option<Arc<Root>>,
        /// All steps rather than those of the result.
        all: bool,
    },
    /// The image itself.
    Inline,
}

impl Place {
    /// Reads `type=…` and attributes.
    ///
    /// # Errors
    /// An unknown type, or one whose attributes are missing.
    pub fn read(attributes: &BTreeMap<String, String>, root: Option<Arc<Root>>) -> Result<Self> {
        let get = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
        let all = get("mode") == "max";
        match get("type") {
            "registry" => {
                let text = get("ref");
                let reference = text
                    .parse::<Reference>()
                    .map_err(|e| Error::Request(format!("invalid cache reference ref={text:?}: {e}")))?;
                let lenient = get("ignore-error") == "true";
                Ok(Self::Registry { reference: reference.or_latest(), all, lenient })
            }
            "local" => Ok(Self::Local { root, all }),
            "inline" => Ok(Self::Inline),
            other => {
                let known = ["registry", "local", "inline"];
                let hint = crate::instructions::read::nearest(other, &known)
                    .map(|near| format!(" (did you mean {near}?)"))
                    .unwrap_or_default();
                Err(Error::Request(format!("unsupported cache type {other:?}{hint}")))
            }
        }
    }

    fn takes_all(&self) -> bool {
        matches!(self, Self::Registry { all: true, .. } | Self::Local { all: true, .. })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Config {
    layers: Vec<ConfigLayer>,
    records: Vec<ConfigRecord>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfigLayer {
    blob: Option<Digest>,
    parent: i64,
    annotations: ConfigAnnotations,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigAnnotations {
    media_type: String,
    #[serde(rename = "diffID")]
    diff_id: Option<Digest>,
    size: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ConfigRecord {
    digest: Option<Digest>,
    results: Vec<ConfigResult>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ConfigResult {
    /// -1: the step changed no file.
    layer: i64,
    created_at: String,
}

/// What other machines' steps made, by key.
#[derive(Debug, Default)]
pub(crate) struct Imported {
    records: HashMap<Digest, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    created: String,
    /// Blob and DiffID.
    layer: Option<(Descriptor, Digest)>,
    from: Arc<Origin>,
}

#[derive(Debug)]
enum Origin {
    Registry(Reference),
    Directory(Arc<Root>),
}

impl Imported {
    /// Reads the caches; one that is not there is said in the log and is no failure, as nothing is lost but time.
    pub(crate) async fn read(host: &Host, request: &Request) -> Self {
        let mut imported = Self::default();
        for place in &request.cache_from {
            if let Err(error) = imported.add(host, request, place).await {
                tracing::warn!(error = error.text(), "a cache to import from cannot be used");
            }
        }
        imported
    }

    async fn add(&mut self, host: &Host, request: &Request, place: &Place) -> Result<()> {
        let (bytes, origin) = match place {
            Place::Registry { reference, .. } => {
                let auth = credentials(&request.auths, reference);
                let (manifest, config) = host.registry.manifest_and_config(reference, auth).await?;
                let bytes =
                    if manifest.config.media_type == CONFIG { config.to_vec() } else { inline(&config)? };
                (bytes, Origin::Registry(reference.clone()))
            }
            Place::Local { root: Some(root), .. } => {
                let root = root.clone();
                blocking(move || Ok((layout(&root)?, Origin::Directory(root)))).await?
            }
            Place::Local { root: None, .. } | Place::Inline => return Ok(()),
        };
        let config: Config = serde_json::from_slice(&bytes)
            .map_err(|e| Error::Request(format!("the cache's configuration cannot be read: {e}")))?;
        let origin = Arc::new(origin);
        for record in config.records {
            let (Some(key), Some(result)) = (record.digest, record.results.into_iter().next()) else {
                continue;
            };
            let layer =
                usize::try_from(result.layer).ok().and_then(|at| config.layers.get(at)).and_then(|l| {
                    let about = &l.annotations;
                    Some((Descriptor::new(about.media_type.clone(), l.blob?, about.size), about.diff_id?))
                });
            if layer.is_none() && result.layer >= 0 {
                continue;
            }
            self.records.insert(key, Known { created: result.created_at, layer, from: origin.clone() });
        }
        Ok(())
    }

    /// The record of a key, its layer brought in and put on `base`.
    pub(crate) async fn find(
        &self,
        host: &Host,
        request: &Request,
        key: &Digest,
        base: Option<ChainId>,
    ) -> Result<Option<Record>> {
        let Some(known) = self.records.get(key).cloned() else { return Ok(None) };
        let Some((blob, diff_id)) = known.layer else {
            return Ok(Some(Record { created: known.created, ..Record::default() }));
        };
        let chain = match &*known.from {
            Origin::Registry(reference) => {
                let auth = credentials(&request.auths, reference);
                host.registry.layer(&host.store, reference, auth, &blob, diff_id, base).await?
            }
            Origin::Directory(root) => {
                let (root, store, blob) = (root.clone(), host.store.clone(), blob.clone());
                blocking(move || bring(&root, &store, &blob, diff_id, base)).await?
            }
        };
        let layer = Some(Layer { chain, blob, diff_id });
        Ok(Some(Record { created: known.created, layer, ..Record::default() }))
    }
}

/// The cache inside of an image's configuration.
fn inline(config: &[u8]) -> Result<Vec<u8>> {
    let image: spec::oci::image::Image = serde_json::from_slice(config)
        .map_err(|e| Error::Request(format!("the image's configuration cannot be read: {e}")))?;
    image.cache.map(String::into_bytes).ok_or_else(|| Error::Request("the image has no inline cache".into()))
}

/// The cache's configuration in an OCI layout.
fn layout(root: &Root) -> Result<Vec<u8>> {
    let wrong = |what: &str| Error::Request(format!("the directory has no cache: {what}"));
    let index: Index =
        serde_json::from_slice(&root.read("index.json", LIMIT)?).map_err(|e| wrong(&e.to_string()))?;
    let first = index.manifests.first().ok_or_else(|| wrong("its index is empty"))?;
    let blob = |digest: &Digest| Ok::<_, Error>(root.read(format!("blobs/sha256/{}", digest.hex()), LIMIT)?);
    let manifest: Manifest =
        serde_json::from_slice(&blob(&first.digest)?).map_err(|e| wrong(&e.to_string()))?;
    blob(&manifest.config.digest)
}

/// Brings a layer from a directory into the store.
fn bring(
    root: &Root,
    store: &Store,
    blob: &Descriptor,
    diff_id: Digest,
    base: Option<ChainId>,
) -> Result<ChainId> {
    if store.blob_size(&blob.digest).is_none() {
        let path = format!("blobs/sha256/{}", blob.digest.hex());
        let mut file = root.open_file(&path, sys::root::Access::Read, 0)?;
        let mut writer = store.blob_writer()?;
        std::io::copy(&mut file, &mut writer).map_err(|e| sys::Error::new("read", path, e))?;
        writer.flush().map_err(|e| sys::Error::new("write", "a layer's blob", e))?;
        writer.commit(Some(blob.digest))?;
    }
    Ok(store.unpack(&mut store.blob(&blob.digest)?, base.as_ref(), Some(diff_id))?.0)
}

/// The configuration of a cache with what this build made and used. `result`: the image's layers by DiffID, in the form that
/// the image has them in.
fn config(solver: &Solver, all: bool, result: &HashMap<Digest, Descriptor>) -> (Config, Vec<Descriptor>) {
    let mut config = Config::default();
    let mut blobs: Vec<Descriptor> = Vec::new();
    let mut records = solver.noted();
    records.sort_by_key(|(key, _)| key.to_string());
    for (key, record) in records {
        let layer = match &record.layer {
            None => -1,
            Some(layer) if !all && !result.contains_key(&layer.diff_id) => continue,
            Some(layer) => {
                let made = result.get(&layer.diff_id).unwrap_or(&layer.blob);
                let at = blobs.iter().position(|blob| blob.digest == made.digest).unwrap_or_else(|| {
                    blobs.push(made.clone());
                    config.layers.push(ConfigLayer {
                        blob: Some(made.digest),
                        parent: -1,
                        annotations: ConfigAnnotations {
                            media_type: made.media_type.clone(),
                            diff_id: Some(layer.diff_id),
                            size: made.size,
                        },
                    });
                    blobs.len() - 1
                });
                i64::try_from(at).unwrap_or(-1)
            }
        };
        let result = ConfigResult { layer, created_at: record.created };
        config.records.push(ConfigRecord { digest: Some(key), results: vec![result] });
    }
    (config, blobs)
}

/// The text that goes into an image's configuration.
pub(crate) fn embedded(solver: &Solver, result: &HashMap<Digest, Descriptor>) -> String {
    let (config, _) = config(solver, false, result);
    serde_json::to_string(&config).expect("a cache's configuration is plain data")
}

/// Writes the cache's manifest for a place into the store; what is to be pushed or sent.
pub(crate) fn manifest(
    solver: &Solver,
    place: &Place,
    result: &HashMap<Digest, Descriptor>,
) -> Result<Descriptor> {
    let store = &solver.host.store;
    let (config, blobs) = config(solver, place.takes_all(), result);
    let bytes = serde_json::to_vec(&config).expect("a cache's configuration is plain data");
    let manifest = Manifest {
        schema_version: 2,
        media_type: media::MANIFEST.into(),
        config: store.put_blob(CONFIG, &bytes)?,
        layers: blobs,
        annotations: BTreeMap::new(),
        artifact_type: None,
        subject: None,
    };
    Ok(store.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).expect("plain data"))?)
}
