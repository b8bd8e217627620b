//! `/images` and `/distribution`.

use std::io::Read;
use std::time::{Duration, Instant};

use engine::{Engine, ImageListOptions};
use http::{Response, StatusCode};
use spec::api::{DistributionInspect, Platform, Progress};
use spec::{Filters, Reference};
use tokio::sync::mpsc;

use super::progress::progress;
use super::system::registry_auth;
use super::{Call, empty, ok, shaped, stream};
use crate::body::{self, Body};
use crate::error::{Error, Result};
use crate::query::Query;
use crate::router::Version;
use crate::versions;

/// How often a client is told how much of a download has come.
const TELL: Duration = Duration::from_millis(100);

const LIST_FILTERS: &[&str] = &["before", "dangling", "label", "label!", "reference", "since", "until"];
const SEARCH_FILTERS: &[&str] = &["is-automated", "is-official", "stars"];
const PRUNE_FILTERS: &[&str] = &["dangling", "label", "label!", "until"];

pub(super) async fn list(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), LIST_FILTERS)?;
    let since = |minor, key| call.version >= Version(1, minor) && call.query.bool(key);
    let options = ImageListOptions {
        all: call.query.bool("all"),
        manifests: since(47, "manifests"),
        identity: since(54, "identity"),
        shared: since(42, "shared-size"),
        filters,
    };
    if options.identity && !options.manifests {
        return Err(Error::invalid("conflicting options: identity requires manifests=1"));
    }
    shaped(call, &call.engine.images(options).await?, versions::image_list)
}

pub(super) async fn inspect(call: &Call, name: &str) -> Result<Response<Body>> {
    let manifests = call.version >= Version(1, 48) && call.query.bool("manifests");
    let platform = platforms(call, "platform", Version(1, 49))?;
    if manifests && !platform.is_empty() {
        return Err(Error::invalid("conflicting options: manifests and platform options cannot both be set"));
    }
    let inspected = call.engine.image_inspect(name, platform.first(), manifests).await?;
    shaped(call, &inspected, versions::image_inspect)
}

pub(super) async fn attestations(call: &Call, name: &str) -> Result<Response<Body>> {
    let platforms = platforms(call, "platform", Version(1, 24))?;
    if platforms.len() > 1 {
        return Err(Error::invalid("multiple platform parameters are not supported: give one"));
    }
    let (types, statements) = (call.query.all("type"), call.query.bool("statement"));
    ok(&call.engine.image_attestations(name, platforms.first(), types, statements).await?)
}

pub(super) async fn history(call: &Call, name: &str) -> Result<Response<Body>> {
    let platform = platforms(call, "platform", Version(1, 48))?;
    ok(&call.engine.image_history(name, platform.first()).await?)
}

/// Corten's own: what each layer does.
pub(super) async fn layers(call: &Call, name: &str) -> Result<Response<Body>> {
    let platform = platforms(call, "platform", Version(1, 24))?;
    ok(&call.engine.image_layers(name, platform.first(), call.query.bool("changes")).await?)
}

pub(super) async fn tag(call: &Call, name: &str) -> Result<Response<Body>> {
    call.engine.image_tag(name, call.query.get("repo"), call.query.get("tag")).await?;
    empty(StatusCode::CREATED)
}

pub(super) async fn remove(call: &Call, name: &str) -> Result<Response<Body>> {
    if name.trim().is_empty() {
        return Err(Error::invalid("image name cannot be blank"));
    }
    let platforms = platforms(call, "platforms", Version(1, 50))?;
    ok(&call.engine.image_remove(name, call.query.bool("force"), &platforms).await?)
}

pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), PRUNE_FILTERS)?;
    let mut pruned = call.engine.prune_images(&filters).await?;
    pruned.space_reclaimed += call.engine.collect().await?.cast_signed();
    ok(&pruned)
}

/// `POST /images/create`: a pull, or an import from the body or an address.
pub(super) async fn create(call: Call) -> Result<Response<Body>> {
    match (call.query.optional("fromImage"), call.query.optional("fromSrc")) {
        (Some(image), None) => {
            let reference = with_tag(image, call.query.get("tag"));
            pull(call, reference).await
        }
        (None, Some(_)) => import(call).await,
        (None, None) => Err(Error::invalid("one of fromImage and fromSrc must be given")),
        (Some(_), Some(_)) => Err(Error::invalid("only one of fromImage and fromSrc may be given")),
    }
}

/// `tag` may be a digest, and the name may carry its own.
fn with_tag(image: &str, tag: &str) -> String {
    match tag {
        "" => image.to_owned(),
        digest if digest.contains(':') => format!("{image}@{digest}"),
        tag => format!("{image}:{tag}"),
    }
}

async fn pull(call: Call, reference: String) -> Result<Response<Body>> {
    let auth = registry_auth(&call.headers);
    let platform = call.query.optional("platform").map(str::to_owned);
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        Ok(engine.pull(&reference, platform.as_deref(), auth, lines).await?)
    })
    .await
}

async fn import(call: Call) -> Result<Response<Body>> {
    let query = call.query;
    let platform = match query.optional("platform") {
        None => None,
        Some(text) => Some(Platform::parse(text).ok_or_else(|| {
            Error::invalid(format!("{text:?} is an invalid platform: expected os/arch[/variant]"))
        })?),
    };
    let engine = call.engine;
    let from = query.get("fromSrc").to_owned();
    progress(call.peer, move |lines| async move {
        if from == "-" {
            let (tar, fed) = body::reader(call.body);
            return import_from(&engine, &query, platform, (tar, fed), lines).await;
        }
        let address = if from.contains("://") { from } else { format!("http://{from}") };
        // A client that has gone ends the stream by itself.
        let _ = lines.send(Progress::status(format!("Downloading from {address}"))).await;
        let download = engine.import_source(&address).await?;
        let total = download.header("content-length").parse().unwrap_or(0);
        let (told, mut next) = (lines.clone(), Instant::now());
        let source = body::downloaded(download, move |come| {
            if come == total || next <= Instant::now() {
                next = Instant::now() + TELL;
                // One that has no room has just been told.
                let _ = told.try_send(Progress::status("Importing").bytes(come, total));
            }
        });
        import_from(&engine, &query, platform, source, lines).await
    })
    .await
}

async fn import_from(
    engine: &Engine,
    query: &Query,
    platform: Option<Platform>,
    (tar, fed): (impl Read + Send + 'static, impl Future<Output = Result<()>>),
    lines: mpsc::Sender<Progress>,
) -> Result<()> {
    let changes = query.all("changes");
    let name = (query.get("repo"), query.get("tag"));
    let message = query.optional("message").map(str::to_owned);
    let message = message.unwrap_or_else(|| format!("Imported from {}", query.get("fromSrc")));
    let imported = engine.import(tar, name, &changes, &message, platform);
    let (fed, id) = tokio::join!(fed, imported);
    fed?;
    let id = id?;
    // As above.
    let _ = lines.send(Progress::status(id.to_string())).await;
    Ok(())
}

pub(super) async fn push(call: Call, name: String) -> Result<Response<Body>> {
    let auth = registry_auth(&call.headers);
    let tag = call.query.get("tag").to_owned();
    let platform = match call.query.optional("platform") {
        None => None,
        Some(text) => Some(spec::gojson::from_slice::<Platform>(text.as_bytes()).map_err(|e| {
            Error::invalid(format!(
                "failed to parse platform: {e}: it is a JSON object with os and architecture"
            ))
        })?),
    };
    let engine = call.engine;
    progress(call.peer, move |lines| async move {
        Ok(engine.push(&name, &tag, platform.as_ref(), auth, lines).await?)
    })
    .await
}

pub(super) async fn search(call: &Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), SEARCH_FILTERS)?;
    let limit = call.query.number("limit")?.unwrap_or(0);
    ok(&call.engine.search(call.query.get("term"), limit, &filters, registry_auth(&call.headers)).await?)
}

pub(super) async fn load(call: Call) -> Result<Response<Body>> {
    let platforms = several_platforms(&call)?;
    let quiet = call.query.bool_or("quiet", true);
    let engine = call.engine;
    let (tar, fed) = body::reader(call.body);
    progress(call.peer, move |lines| async move {
        let (fed, loaded) = tokio::join!(fed, engine.load(tar, platforms, quiet, lines.clone()));
        // Docker tells a failure in the stream, also one before the first line: there clients look for it.
        if let Err(error) = fed.and_then(|()| Ok(loaded?)) {
            // The client may have gone.
            let _ = lines.send(Progress::error(error.message())).await;
        }
        Ok(())
    })
    .await
}

pub(super) async fn get(call: Call, name: String) -> Result<Response<Body>> {
    archive(call, vec![name]).await
}

pub(super) async fn save(call: Call) -> Result<Response<Body>> {
    let names = call.query.all("names");
    if names.is_empty() {
        return Err(Error::invalid("no image names given: names=… is missing"));
    }
    archive(call, names).await
}

async fn archive(call: Call, names: Vec<String>) -> Result<Response<Body>> {
    let chunks = call.engine.save(names, several_platforms(&call)?).await?;
    stream("application/x-tar", Body::fallible(chunks).until(call.peer.gone()))
}

/// The platforms of a parameter, each as JSON. Versions before `since` did not have it.
fn platforms(call: &Call, key: &str, since: Version) -> Result<Vec<Platform>> {
    if call.version < since {
        return Ok(Vec::new());
    }
    call.query.all(key).iter().filter(|text| !text.is_empty()).map(|text| platform(text)).collect()
}

/// Load's and save's: one from 1.48 on, any number from 1.52 on.
fn several_platforms(call: &Call) -> Result<Vec<Platform>> {
    let platforms = platforms(call, "platform", Version(1, 48))?;
    if platforms.len() > 1 && call.version < Version(1, 52) {
        return Err(Error::invalid(
            "multiple platform parameters are not supported in this API version; use API version 1.52 or later",
        ));
    }
    Ok(platforms)
}

fn platform(text: &str) -> Result<Platform> {
    let platform: Platform = spec::gojson::from_slice(text.as_bytes())
        .map_err(|e| Error::invalid(format!("failed to parse platform: {e}")))?;
    if !platform.os.is_empty() && !platform.architecture.is_empty() {
        return Ok(platform);
    }
    let has_more = !platform.variant.is_empty() || !platform.os_version.is_empty();
    Err(Error::invalid(if has_more && platform.os.is_empty() && platform.architecture.is_empty() {
        "optional platform fields provided, but OS and Architecture are missing"
    } else {
        "both OS and Architecture must be provided"
    }))
}

pub(super) async fn distribution(call: &Call, name: &str) -> Result<Response<Body>> {
    let reference: Reference = name.parse().map_err(|e| Error::invalid(format!("{name}: {e}")))?;
    let auth = registry_auth(&call.headers);
    let (descriptor, platforms) =
        call.engine.registry().inspect(&reference.or_latest(), auth.as_ref()).await?;
    ok(&DistributionInspect { descriptor: Some(descriptor), platforms })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_is_an_object_with_both_its_names() {
        assert_eq!(platform(r#"{"os":"linux","architecture":"arm64"}"#).unwrap().to_string(), "linux/arm64");
        for (text, why) in [
            ("linux/arm64", "failed to parse platform"),
            (r#"{"os":"linux"}"#, "both OS and Architecture must be provided"),
            (r#"{"variant":"v8"}"#, "optional platform fields provided"),
        ] {
            assert!(platform(text).unwrap_err().message().contains(why), "{text}");
        }
    }

    #[test]
    fn a_tag_may_be_a_digest() {
        assert_eq!(with_tag("a/b", "1"), "a/b:1");
        assert_eq!(with_tag("a/b:2", ""), "a/b:2");
        assert_eq!(with_tag("a/b", "sha256:00"), "a/b@sha256:00");
    }
}
