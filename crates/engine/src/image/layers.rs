//! Layers: what each layer of an image adds, changes, removes and wastes.

use spec::api::{ImageLayer, ImageLayers, LayerChange, LayerTally, LayerWaste, Platform};
use store::{ChangeKind, Explored, Tally};

use super::summary::{Summary, not_provided};
use crate::blocking::lasting;
use crate::{Engine, Error};

impl Engine {
    /// `GET /images/{name}/layers`, of one platform's image; path by path with `changes`.
    pub async fn image_layers(
        &self,
        name: &str,
        platform: Option<&Platform>,
        changes: bool,
    ) -> Result<ImageLayers, Error> {
        let target = self.target(name)?;
        let (inner, shown, wanted) = (self.inner.clone(), name.to_owned(), platform.cloned());
        lasting(move || {
            // Nothing collects it while it is read.
            let _lease = inner.store.lease("layers")?;
            let summary = Summary::of(&inner.store, &target);
            let Some((member, image)) = summary.best(wanted.as_ref()) else {
                return Err(not_provided(&shown, &wanted.unwrap_or_else(Platform::host)));
            };
            let (explored, waste) = inner.store.explore(image)?;
            let mut steps = image.config.history.iter().filter(|step| !step.empty_layer);
            let layers: Vec<ImageLayer> = explored
                .into_iter()
                .map(|layer| {
                    let step = steps.next().map(|step| step.created_by.clone());
                    image_layer(layer, step.unwrap_or_default(), changes)
                })
                .collect();
            let bytes =
                |tally: fn(&ImageLayer) -> &LayerTally| layers.iter().map(|l| tally(l).bytes).sum::<u64>();
            Ok(ImageLayers {
                id: target.digest.to_string(),
                manifest: member.descriptor.digest.to_string(),
                platform: member.platform.clone(),
                bytes: bytes(|layer| &layer.added) + bytes(|layer| &layer.changed),
                wasted_bytes: waste.iter().map(|waste| waste.bytes).sum(),
                wasted: waste
                    .into_iter()
                    .map(|w| LayerWaste { path: absolute(&w.path), times: w.times, bytes: w.bytes })
                    .collect(),
                layers,
            })
        })
        .await
    }
}

fn image_layer(layer: Explored, created_by: String, changes: bool) -> ImageLayer {
    let tally = |tally: Tally| LayerTally { files: tally.files, bytes: tally.bytes };
    let changes = layer.changes.iter().filter(|_| changes).map(|(change, bytes)| LayerChange {
        path: absolute(&change.path),
        // As `docker diff` numbers them.
        kind: match change.kind {
            ChangeKind::Modified => 0,
            ChangeKind::Added => 1,
            ChangeKind::Deleted => 2,
        },
        bytes: *bytes,
    });
    ImageLayer {
        digest: layer.blob.digest.to_string(),
        diff_id: layer.diff_id.to_string(),
        media_type: layer.blob.media_type,
        size: layer.blob.size,
        created_by,
        added: tally(layer.added),
        changed: tally(layer.changed),
        removed: tally(layer.removed),
        wasted: tally(layer.wasted),
        changes: changes.collect(),
    }
}

fn absolute(path: &std::path::Path) -> String {
    format!("/{}", path.display())
}
