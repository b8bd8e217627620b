//! Base images: from the store, else from their registry.

use registry::client::credentials;
use spec::api::Platform;
use spec::oci::image::Descriptor;
use spec::{ErrorKind, Reference};

use super::blocking;
use crate::error::{Error, Result};
use crate::graph::{self, Op, Vertex};
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
    let pulled = host.registry.pull(&host.store, &reference, platform, auth, output.pull()).await;
    let pulled = match pulled {
        // It may be here, but only for others.
        Err(error) if host.store.resolve(name).is_ok() => {
            let step = format!("{name} is not here for {platform}, and cannot be had");
            return Err(Error::Step { step, detail: Error::from(error).text() });
        }
        Err(error) => {
            return Err(Error::Image { name: name.to_owned(), error: Box::new(error.into()) });
        }
        Ok(pulled) => pulled,
    };
    let (host, platform) = (host.clone(), platform.clone());
    blocking(move || {
        // Kept under its name, so that the next build finds it and the collector does not.
        host.store.tag_from(&reference, &pulled.target, &pulled.origin)?;
        open(&host, &reference.familiar(), &pulled.target, &platform)
    })
    .await
}

/// The image, if it is here for this platform.
async fn local(host: &Host, name: &str, platform: &Platform) -> Result<Option<State>> {
    let (host, name, platform) = (host.clone(), name.to_owned(), platform.clone());
    blocking(move || {
        let found =
            host.store.resolve(&name).map_err(Error::from).and_then(|t| open(&host, &name, &t, &platform));
        match found {
            Ok(state) => Ok(Some(state)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    })
    .await
}

fn open(host: &Host, name: &str, target: &Descriptor, platform: &Platform) -> Result<State> {
    let image = host.store.image(target, platform)?;
    let chain = host.store.unpack_image(&image)?;
    let layers = image.manifest.layers.into_iter().zip(image.config.rootfs.diff_ids.clone()).collect();
    let vertex = Op::Image(graph::Image { name: name.to_owned(), chain, layers, digest: target.digest });
    let root = chain.map(|_| Vertex::new(format!("FROM {name}"), vertex, false));
    Ok(State { base: root.clone(), root, image: image.config, ..State::default() })
}
