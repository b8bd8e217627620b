//! `/build`.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use base64::Engine as _;
use builder::NamedContext;
use http::Response;
use serde_json::json;
use spec::Filters;
use spec::api::{BUILD_HEADER, BuildWish, ContextListing, KeptContext, NO_DESCRIPTOR, Ulimit};
use spec::git::Address;
use spec::oci::runtime::Rlimit;
use sys::root::Root;

use super::progress::progress;
use super::system::{coded, registry_auths};
use super::{Call, blocking, ok};
use crate::body::{self, Body};
use crate::context;
use crate::error::{Error, Result};
use crate::query::Query;

/// A context with a longer list of files is sent whole.
const LISTING_LIMIT: usize = 256 << 20;

/// Builds from the context in the body, at an address, or in a directory that came as a descriptor.
pub(super) async fn build(call: Call) -> Result<Response<Body>> {
    if call.query.get("version") == "2" {
        return Err(Error::not_implemented(
            "BuildKit (version=2; set DOCKER_BUILDKIT=0 for the classic builder)",
        ));
    }
    let mut request = request(&call.query)?;
    request.auths = registry_auths(&call.headers);
    let wish: Option<BuildWish> = match call.headers.contains_key(BUILD_HEADER) {
        false => None,
        true => Some(coded(&call.headers, BUILD_HEADER).ok_or_else(|| {
            Error::invalid(format!(
                "invalid {BUILD_HEADER}: expected base64 of JSON as this version knows it"
            ))
        })?),
    };
    let wish = wish.unwrap_or_default();
    let descriptors = call.peer.descriptors();
    // Those of a client behind a relay are lost on the way.
    if descriptors.len() < wish.descriptors {
        return Err(Error::invalid(NO_DESCRIPTOR));
    }
    let scratch = &call.services.scratch;
    let (place, contexts, parts) = (wish.context.clone(), wish.contexts.clone(), wish.kept.clone());
    wanted(&mut request, wish, &descriptors)?;
    let keep = request.args.get("BUILDKIT_CONTEXT_KEEP_GIT_DIR").and_then(Option::as_deref) == Some("1");
    let mut kept = Vec::new();
    let mut in_use = None;
    if let Some(KeptContext { key, token }) = parts {
        let host = call.services.builder.clone();
        let taken = body::pump(call.body, move |tar| {
            let (_, tar) = store::inflate(tar).map_err(|e| Error::invalid(format!("build context: {e}")))?;
            Ok(builder::accept_context(&host, &key, &token, tar)?)
        });
        let taken = taken.await?;
        request.context = taken.files();
        in_use = Some(taken);
    } else if !place.is_empty() {
        request.context = directory(&place, &descriptors)?;
    } else if let Some(remote) = call.query.optional("remote") {
        let context = match repository(remote)? {
            Some(address) => {
                let host = &call.services.builder;
                let (context, commit) =
                    Box::pin(context::checkout(host, &address, &request.secrets, keep, scratch)).await?;
                request.origin = Some(builder::Origin { uri: remote.to_owned(), commit });
                context
            }
            None => {
                let (context, text) =
                    Box::pin(context::fetch(&call.services.builder.registry, remote, scratch)).await?;
                request.dockerfile_text = text.or(request.dockerfile_text);
                context
            }
        };
        request.context = context.path().to_owned().into();
        kept.push(context);
    } else {
        let context = context::receive(call.body, scratch).await?;
        request.context = context.path().to_owned().into();
        kept.push(context);
    }
    for (name, place) in &contexts {
        let fetched = match place.strip_prefix("docker-image://") {
            Some(image) => {
                request.contexts.insert(name.clone(), NamedContext::Image(image.to_owned()));
                continue;
            }
            None if place.starts_with("fd:") => {
                let files = NamedContext::Files(directory(place, &descriptors)?);
                request.contexts.insert(name.clone(), files);
                continue;
            }
            None => match repository(place)? {
                Some(address) => {
                    let host = &call.services.builder;
                    context::checkout(host, &address, &request.secrets, keep, scratch).await?.0
                }
                None if place.starts_with("http://") || place.starts_with("https://") => {
                    context::fetch(&call.services.builder.registry, place, scratch).await?.0
                }
                None => {
                    return Err(Error::invalid(format!(
                        "invalid build context {name}={place}: expected a directory of this host, docker-image://…, https://… or a git repository"
                    )));
                }
            },
        };
        let files = fetched.path().to_owned().into();
        request.contexts.insert(name.clone(), NamedContext::Files(files));
        kept.push(fetched);
    }
    let host = call.services.builder.clone();
    progress(call.peer, move |lines| async move {
        // Removed when the build ends or is cancelled.
        let _kept = (kept, in_use);
        builder::build(&host, request, lines).await?;
        Ok(())
    })
    .await
}

/// Tells what of a client's context is new here.
pub(super) async fn offer(call: Call) -> Result<Response<Body>> {
    let bytes = body::bytes_up_to(call.body, LISTING_LIMIT).await?;
    let host = call.services.builder.clone();
    let offer = blocking(move || {
        let listing: ContextListing = serde_json::from_slice(&bytes)
            .map_err(|e| Error::invalid(format!("invalid list of a build context: {e}")))?;
        Ok(builder::offer_context(&host, &listing.key, listing.entries)?)
    });
    ok(&offer.await?)
}

/// The git repository that an address names, if it is one.
fn repository(text: &str) -> Result<Option<Address>> {
    Address::parse(text).map_err(|error| Error::invalid(format!("invalid build context {text}: {error}")))
}

/// The directory that `fd:N` is.
fn directory(place: &str, descriptors: &[OwnedFd]) -> Result<builder::Files> {
    let number = place.strip_prefix("fd:").and_then(|n| n.parse::<usize>().ok());
    let descriptor = number.and_then(|n| descriptors.get(n)).ok_or_else(|| {
        Error::invalid(format!("invalid build context {place}: {} descriptors came", descriptors.len()))
    })?;
    let descriptor = descriptor.try_clone().map_err(|e| Error::invalid(format!("build context: {e}")))?;
    Ok(builder::Files::Shared(Arc::new(Root::from_fd(descriptor, "build context"))))
}

/// What the client wants beyond the Engine API.
fn wanted(request: &mut builder::Request, wish: BuildWish, descriptors: &[OwnedFd]) -> Result<()> {
    for (id, value) in wish.secrets {
        let value = base64::engine::general_purpose::STANDARD
            .decode(value)
            .map_err(|_| Error::invalid(format!("secret {id}: expected base64")))?;
        request.secrets.insert(id, value);
    }
    request.ssh = wish.ssh.into_iter().map(|(id, path)| (id, path.into())).collect();
    if let Some(text) = wish.dockerfile {
        request.dockerfile_text = Some(text.into_bytes());
    }
    request.ignore_text = wish.ignore.map(String::into_bytes);
    request.no_cache_filter = wish.no_cache_filter;
    request.platforms.extend(wish.platforms);
    request.allow = wish.allow;
    request.squash |= wish.squash;
    request.events = wish.events;
    request.annotations = wish.annotations;
    request.call = wish.call;
    for output in &wish.outputs {
        request.outputs.push(builder::Target::read(output)?);
    }
    if let Some(text) = wish.attest.get("provenance") {
        request.provenance = builder::Provenance::read(text)?;
    }
    if let Some(text) = wish.attest.get("sbom") {
        request.sbom = builder::read_sbom(text)?;
    }
    for cache in &wish.cache_from {
        let root = match cache.get("src").filter(|place| place.starts_with("fd:")) {
            None => None,
            Some(place) => match directory(place, descriptors)? {
                builder::Files::Shared(root) => Some(root),
                builder::Files::Own(_) | builder::Files::Nothing => None,
            },
        };
        request.cache_from.push(builder::Place::read(cache, root)?);
    }
    for cache in &wish.cache_to {
        request.cache_to.push(builder::Place::read(cache, None)?);
    }
    Ok(())
}

/// What to build, but for its context.
fn request(query: &Query) -> Result<builder::Request> {
    let dockerfile = query.optional("dockerfile").unwrap_or("Dockerfile").to_owned();
    let network = query.optional("networkmode").unwrap_or("default").to_owned();
    let isolation = query.get("isolation");
    if !matches!(isolation, "" | "default") {
        return Err(Error::invalid(format!(
            "Unsupported isolation: {isolation:?}: there is only \"default\" on Linux"
        )));
    }
    Ok(builder::Request {
        dockerfile,
        tags: query.all("t").into_iter().filter(|t| !t.is_empty()).collect(),
        args: map(query, "buildargs")?,
        labels: map::<Option<String>>(query, "labels")?
            .into_iter()
            .map(|(k, v)| (k, v.unwrap_or_default()))
            .collect(),
        target: query.get("target").to_owned(),
        no_cache: query.bool("nocache"),
        pull: query.bool("pull"),
        network,
        quiet: query.bool("q"),
        platforms: query.all("platform").into_iter().filter(|p| !p.is_empty()).collect(),
        extra_hosts: query.all("extrahosts").into_iter().filter(|h| !h.is_empty()).collect(),
        squash: query.bool("squash"),
        limits: limits(query)?,
        ..builder::Request::default()
    })
}

fn limits(query: &Query) -> Result<builder::Limits> {
    let number = |key: &str| Ok::<i64, Error>(query.number(key)?.unwrap_or(0));
    let ulimits: Vec<Ulimit> = match query.optional("ulimits") {
        None => Vec::new(),
        Some(text) => serde_json::from_str::<Option<Vec<Ulimit>>>(text)
            .map_err(|e| Error::invalid(format!("error reading ulimit settings: {e}")))?
            .unwrap_or_default(),
    };
    let infinite = |n: i64| u64::try_from(n).unwrap_or(u64::MAX);
    Ok(builder::Limits {
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        cpuset_cpus: query.get("cpusetcpus").to_owned(),
        cpuset_mems: query.get("cpusetmems").to_owned(),
        shm_size: number("shmsize")?,
        cgroup_parent: query.get("cgroupparent").to_owned(),
        ulimits: ulimits
            .into_iter()
            .map(|u| Rlimit {
                r#type: format!("RLIMIT_{}", u.name.to_ascii_uppercase()),
                soft: infinite(u.soft),
                hard: infinite(u.hard),
            })
            .collect(),
    })
}

/// A parameter that is a JSON object.
fn map<V: serde::de::DeserializeOwned>(query: &Query, key: &str) -> Result<BTreeMap<String, V>> {
    let Some(text) = query.optional(key) else { return Ok(BTreeMap::new()) };
    let map: Option<_> = serde_json::from_str(text).map_err(|e| {
        Error::invalid(format!("error reading {key}: {e}: expected a JSON object of strings"))
    })?;
    Ok(map.unwrap_or_default())
}

/// Forgets what the wish covers of the cache, then frees what only it held.
pub(super) async fn prune(call: &Call) -> Result<Response<Body>> {
    let query = &call.query;
    let known = ["until", "unused-for", "id", "type", "description", "inuse", "shared", "private", "parents"];
    let wish = builder::Prune {
        all: query.bool("all"),
        reserved: query.number("reserved-space")?.or(query.number("keep-storage")?).unwrap_or(0),
        most: query.number("max-used-space")?.unwrap_or(0),
        free: query.number("min-free-space")?.unwrap_or(0),
        filters: Filters::parse(query.get("filters"), &known).map_err(|e| Error::invalid(e.to_string()))?,
    };
    let host = call.services.builder.clone();
    let before = blocking({
        let host = host.clone();
        move || cache_size(&host)
    })
    .await?;
    let deleted = blocking({
        let host = host.clone();
        move || Ok(builder::prune(&host, &wish, &host.store.needed()?)?)
    })
    .await?;
    let freed = call.collect().await?;
    let after = blocking(move || cache_size(&host)).await?;
    // Layers and blobs by the collector's count, the cache's own files by their own.
    let freed = freed.max(before.saturating_sub(after));
    tracing::info!(forgotten = deleted.len(), freed, "build cache pruned");
    ok(&json!({ "CachesDeleted": deleted, "SpaceReclaimed": freed }))
}

/// Bytes of what is in the build cache.
fn cache_size(host: &builder::Host) -> Result<u64> {
    let usage = builder::usage(host, &host.store.needed()?)?;
    Ok(usage.items.iter().map(|item| u64::try_from(item.size).unwrap_or(0)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_become_a_request() {
        let query = Query::parse(
            "t=a%3A1&t=b&buildargs=%7B%22x%22%3A%221%22%2C%22y%22%3Anull%7D&labels=null&nocache=1&q=0&target=s&\
             extrahosts=h%3A1.2.3.4",
        );
        let request = request(&query).unwrap();
        assert_eq!(request.tags, ["a:1", "b"]);
        assert_eq!(request.args["x"].as_deref(), Some("1"));
        assert_eq!(request.args["y"], None);
        assert!(request.labels.is_empty() && request.no_cache && !request.quiet);
        assert_eq!((request.dockerfile.as_str(), request.network.as_str()), ("Dockerfile", "default"));
        assert_eq!(request.extra_hosts, ["h:1.2.3.4"]);
        for bad in ["buildargs=%5B%5D", "isolation=hyperv"] {
            assert!(super::request(&Query::parse(bad)).is_err(), "{bad}");
        }
    }
}
