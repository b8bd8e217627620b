//! The last state becomes an image in the store: there is nothing to load afterwards.

use spec::Reference;
use spec::oci::image::Descriptor;

use crate::Host;
use crate::error::Result;
use crate::state::State;

/// Writes the image and its names. An image is as old as its last step: built again from the cache, it is the same.
pub(crate) fn export(host: &Host, state: &State, tags: &[Reference]) -> Result<Descriptor> {
    let mut config = state.image.clone();
    config.created.get_or_insert_with(|| jiff::Timestamp::now().to_string());
    let target = host.store.put_image(&config, &state.layers)?;
    for tag in tags {
        host.store.tag(tag, &target)?;
    }
    if tags.is_empty() {
        host.store.keep_dangling(&target)?;
    }
    Ok(target)
}
