//! Base images: from the store, else from their registry.

use registry::client::credentials;
use spec::api::Platform;
use spec::oci::image::Descriptor;
use spec::{ErrorKind, Reference};

use super::blocking;
use crate::error::{Error, Result};
use crate::output::Output;
use crate::state::State;
use crate::{Host, Request};

/// The state that an image is, its layers unpacked.
pub(crate) async fn base(
    host: &Host,
    name: &str,
    platform: &Platform,
    request: &Request,
    output: &Output,
) -> Result<State> {
    if !request.pull
        && let Some(state) = local(host, name, platform).await?
    {
        return Ok(state);
    }
    let reference: Reference =
        name.parse().map_err(|e| Error::Request(format!("failed to parse stage name {name:?}: {e}")))?;
    let reference = reference.or_latest();
    let auth = credentials(&request.auths, &reference);
    let target = host.registry.pull(&host.store, &reference, platform, auth, output.pull()).await?;
    let (host, platform) = (host.clone(), platform.clone());
    blocking(move || {
        // Kept under its name, so that the next build finds it and the collector does not.
        host.store.tag(&reference, &target)?;
        open(&host, &target, &platform)
    })
    .await
}

/// The image, if it is here for this platform.
async fn local(host: &Host, name: &str, platform: &Platform) -> Result<Option<State>> {
    let (host, name, platform) = (host.clone(), name.to_owned(), platform.clone());
    blocking(move || {
        let found = host.store.resolve(&name).map_err(Error::from).and_then(|t| open(&host, &t, &platform));
        match found {
            Ok(state) => Ok(Some(state)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    })
    .await
}

fn open(host: &Host, target: &Descriptor, platform: &Platform) -> Result<State> {
    let image = host.store.image(target, platform)?;
    let chain = host.store.unpack_image(&image)?;
    Ok(State { chain, layers: image.manifest.layers, image: image.config, ..State::default() })
}
