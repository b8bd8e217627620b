//! `/system/df`: what takes space, in both of the API's shapes.

use std::collections::BTreeMap;
use std::path::Path;

use engine::ImageListOptions;
use engine::engine::ListOptions;
use http::Response;
use serde_json::{Value, json};
use spec::Filters;
use spec::api::{BuildCache, ContainerSummary, DataRootUsage, ImageSummary, Volume, VolumeUsageData};

use super::{Call, blocking, ok};
use crate::body::Body;
use crate::error::{Error, Result};
use crate::router::Version;
use crate::versions;

/// One kind of object, added up.
struct Sum {
    active: usize,
    total: usize,
    reclaimable: i64,
    size: i64,
    items: Value,
}

pub(super) async fn disk_usage(call: &Call) -> Result<Response<Body>> {
    let types = call.query.all("type");
    let known = ["container", "image", "volume", "build-cache"];
    if let Some(unknown) = types.iter().find(|t| !known.contains(&t.as_str())) {
        return Err(Error::invalid(format!("unknown object type: {unknown}")));
    }
    let wants = |name: &str| types.is_empty() || types.iter().any(|t| t == name);

    let all = ListOptions { all: true, limit: -1, size: true, filters: Filters::default() };
    let containers = call.engine.containers(all).await?;
    let on_disk =
        if wants("image") { call.engine.data_root_usage().await? } else { DataRootUsage::default() };
    let mut shape = Shape { new: BTreeMap::new(), old: BTreeMap::new() };
    let counted = wants("image") || wants("build-cache");
    let cache = if counted { build_cache(call).await? } else { builder::Usage::default() };
    if wants("image") {
        let images =
            call.engine.images(ImageListOptions { all: true, shared: true, ..Default::default() }).await?;
        // Layers that only the build cache holds are told there.
        let layers = (on_disk.blobs + on_disk.ingest + on_disk.layers).saturating_sub(cache.in_store);
        shape.old.insert("LayersSize".into(), layers.into());
        shape.add("Image", "Images", images_sum(images, &containers, layers.cast_signed()));
    }
    if wants("volume") {
        let mut ours = Filters::default();
        ours.add("driver", "local");
        let mut volumes = call.engine.volumes(&ours).await?.volumes;
        // What is mounted takes no space here, and may be far away.
        volumes.retain(|volume| !volume.options.contains_key("device"));
        let volumes = measured(volumes, &containers).await?;
        shape.add("Volume", "Volumes", volumes_sum(&volumes));
    }
    if wants("build-cache") {
        if call.version < Version(1, 42) {
            let size: i64 = cache.items.iter().map(|item| item.size).sum();
            shape.old.insert("BuilderSize".into(), size.into());
        }
        shape.add("BuildCache", "BuildCache", cache_sum(&cache.items));
    }
    if wants("container") {
        shape.add("Container", "Containers", containers_sum(&containers));
    }

    let verbose = call.query.bool("verbose");
    let new = call.version >= Version(1, 52);
    let mut answer = BTreeMap::new();
    if new {
        for (name, mut sum) in shape.new {
            if !verbose {
                sum.as_object_mut().expect("a sum is an object").remove("Items");
            }
            answer.insert(name, sum);
        }
    }
    if !(new && verbose) {
        if let Some(containers) = shape.old.get_mut("Containers") {
            versions::container_list(containers, call.version);
        }
        answer.extend(shape.old);
    }
    if types.is_empty() {
        // Corten's own: all that Docker's kinds leave out, so that the sum is the disk's.
        answer.insert("DataRoot".into(), serde_json::to_value(&on_disk).expect("plain data serialises"));
    }
    ok(&answer)
}

/// The answer's two shapes: since 1.52, and before.
struct Shape {
    new: BTreeMap<String, Value>,
    old: BTreeMap<String, Value>,
}

impl Shape {
    fn add(&mut self, new: &str, old: &str, sum: Sum) {
        self.old.insert(old.to_owned(), sum.items.clone());
        self.new.insert(
            format!("{new}Usage"),
            json!({
                "ActiveCount": sum.active, "TotalCount": sum.total, "Reclaimable": sum.reclaimable,
                "TotalSize": sum.size, "Items": sum.items,
            }),
        );
    }
}

fn images_sum(mut images: Vec<ImageSummary>, containers: &[ContainerSummary], layers: i64) -> Sum {
    for image in &mut images {
        let users = containers.iter().filter(|c| c.image_id == image.id).count();
        image.containers = i64::try_from(users).unwrap_or(i64::MAX);
        image.shared_size = image.shared_size.max(0);
    }
    let used: i64 = images.iter().filter(|i| i.containers > 0).map(|i| i.size - i.shared_size).sum();
    Sum {
        active: images.iter().filter(|i| i.containers > 0).count(),
        total: images.len(),
        reclaimable: (layers - used).max(0),
        size: layers,
        items: to_value(&images),
    }
}

/// What is in the build cache.
async fn build_cache(call: &Call) -> Result<builder::Usage> {
    let host = call.services.builder.clone();
    blocking(move || Ok(builder::usage(&host, &host.store.needed()?)?)).await
}

fn cache_sum(items: &[BuildCache]) -> Sum {
    let size = |items: &mut dyn Iterator<Item = &BuildCache>| items.map(|item| item.size).sum();
    Sum {
        active: items.iter().filter(|item| item.in_use).count(),
        total: items.len(),
        reclaimable: size(&mut items.iter().filter(|item| !item.in_use)),
        size: size(&mut items.iter()),
        items: to_value(items),
    }
}

fn containers_sum(containers: &[ContainerSummary]) -> Sum {
    let active = |c: &&ContainerSummary| matches!(c.state.as_str(), "running" | "paused" | "restarting");
    let size = |c: &ContainerSummary| c.size_rw.unwrap_or(0);
    Sum {
        active: containers.iter().filter(active).count(),
        total: containers.len(),
        reclaimable: containers.iter().filter(|c| !active(c)).map(size).sum(),
        size: containers.iter().map(size).sum(),
        items: to_value(containers),
    }
}

fn volumes_sum(volumes: &[Volume]) -> Sum {
    let usage = |v: &Volume| v.usage_data.clone().unwrap_or_default();
    let size = |v: &Volume| usage(v).size.max(0);
    Sum {
        active: volumes.iter().filter(|v| usage(v).ref_count > 0).count(),
        total: volumes.len(),
        reclaimable: volumes.iter().filter(|v| usage(v).ref_count == 0).map(size).sum(),
        size: volumes.iter().map(size).sum(),
        items: to_value(volumes),
    }
}

/// Fills in the volumes' sizes and how many containers use each.
async fn measured(mut volumes: Vec<Volume>, containers: &[ContainerSummary]) -> Result<Vec<Volume>> {
    for volume in &mut volumes {
        let uses = |c: &&ContainerSummary| c.mounts.iter().any(|m| m.name == volume.name);
        let ref_count = i64::try_from(containers.iter().filter(uses).count()).unwrap_or(i64::MAX);
        volume.usage_data = Some(VolumeUsageData { size: -1, ref_count });
    }
    blocking(move || {
        for volume in &mut volumes {
            if let Some(usage) = &mut volume.usage_data {
                usage.size = tree_size(Path::new(&volume.mountpoint)).cast_signed();
            }
        }
        Ok(volumes)
    })
    .await
}

/// Bytes allocated to a tree, as du(1) counts them but for hard links; what cannot be read counts nothing.
fn tree_size(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let mut size = 0;
    let mut pending = vec![path.to_owned()];
    while let Some(path) = pending.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        size += metadata.blocks() * 512;
        if metadata.is_dir()
            && let Ok(entries) = std::fs::read_dir(&path)
        {
            pending.extend(entries.flatten().map(|entry| entry.path()));
        }
    }
    size
}

fn to_value(items: &(impl serde::Serialize + ?Sized)) -> Value {
    serde_json::to_value(items).expect("API objects have string keys")
}
