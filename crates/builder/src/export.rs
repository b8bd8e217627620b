//! The last states become an image in the store: there is nothing to load afterwards.

use std::collections::BTreeMap;

use spec::Reference;
use spec::oci::image::{Descriptor, Index, Platform, media};

use crate::Host;
use crate::error::Result;
use crate::finish::Finished;

/// Writes the images, an index for several, and the names.
pub(crate) fn export(host: &Host, images: &[Finished], tags: &[Reference]) -> Result<Descriptor> {
    let mut manifests = Vec::new();
    for image in images {
        let mut descriptor = host.store.put_image(&image.config, &image.layers)?;
        descriptor.platform = Some(Platform {
            architecture: image.config.architecture.clone(),
            os: image.config.os.clone(),
            variant: image.config.variant.clone(),
            ..Platform::default()
        });
        manifests.push(descriptor);
    }
    let target = match manifests.as_slice() {
        [one] => Descriptor { platform: None, ..one.clone() },
        _ => {
            let index = Index {
                schema_version: 2,
                media_type: media::INDEX.into(),
                manifests,
                annotations: BTreeMap::new(),
            };
            let bytes = serde_json::to_vec(&index).expect("an index is plain data");
            host.store.put_blob(media::INDEX, &bytes)?
        }
    };
    for tag in tags {
        host.store.tag(tag, &target)?;
    }
    if tags.is_empty() {
        host.store.keep_dangling(&target)?;
    }
    Ok(target)
}
