//! Method and path → route. Pure: the map of the Engine API, and nothing else.
//!
//! Image names carry slashes in mid-path (`/images/a/b:c/json`), so paths are matched as slices of segments.

use http::Method;

use crate::error::{Error, Result};
use crate::query;

/// An Engine API version (`1.43`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl Version {
    /// The newest version spoken.
    pub fn newest() -> Self {
        Self::parse(spec::api::API_VERSION).expect("the constant is a version")
    }

    /// The oldest version accepted.
    pub fn oldest() -> Self {
        Self::parse(spec::api::MIN_API_VERSION).expect("the constant is a version")
    }

    fn parse(text: &str) -> Option<Self> {
        let (major, minor) = text.split_once('.')?;
        Some(Self(major.parse().ok()?, minor.parse().ok()?))
    }
}

/// One operation of the Engine API, with what its path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    Ping,
    Version,
    Info,
    Events,
    Auth,
    DiskUsage,

    ContainerList,
    ContainerCreate,
    ContainerPrune,
    ContainerInspect(String),
    ContainerTop(String),
    ContainerLogs(String),
    ContainerResize(String),
    ContainerStart(String),
    ContainerStop(String),
    ContainerRestart(String),
    ContainerKill(String),
    ContainerUpdate(String),
    ContainerRename(String),
    ContainerPause(String),
    ContainerUnpause(String),
    ContainerAttach(String),
    ContainerAttachSocket(String),
    ContainerWait(String),
    ContainerRemove(String),
    ContainerChanges(String),
    ContainerExport(String),
    ContainerStats(String),
    ArchiveStat(String),
    ArchiveGet(String),
    ArchivePut(String),

    ExecCreate(String),
    ExecStart(String),
    ExecResize(String),
    ExecInspect(String),

    ImageList,
    ImageCreate,
    ImageLoad,
    ImageSave,
    ImagePrune,
    ImageSearch,
    ImageInspect(String),
    ImageAttestations(String),
    ImageHistory(String),
    ImageLayers(String),
    ImagePush(String),
    ImageTag(String),
    ImageGet(String),
    ImageRemove(String),
    DistributionInspect(String),

    Commit,
    Build,
    BuildContext,
    BuildPrune,
    BuildCancel,

    VolumeList,
    VolumeCreate,
    VolumePrune,
    VolumeInspect(String),
    VolumeRemove(String),
    /// Docker's update, which only cluster volumes have.
    VolumeClusterUpdate(String),
    VolumeImport,
    VolumeExport(String),
    VolumeCopy(String),
    VolumeRename(String),
    VolumeUpdate(String),

    NetworkList,
    NetworkCreate,
    NetworkPrune,
    NetworkInspect(String),
    NetworkRemove(String),
    NetworkConnect(String),
    NetworkDisconnect(String),

    PluginList,
    /// One managed plugin, of which there is none.
    Plugin(String),
    /// Part of the API, not done here: what it is.
    Missing(&'static str),
    /// Swarm's objects.
    Swarm,
    /// What a node of a swarm does.
    SwarmMember,
    /// Any page, asked what may be done with it.
    Options,
}

/// A version and the path behind it; `oldest` is the first that is accepted. Unversioned paths mean the newest version.
///
/// # Errors
/// The version is out of the range that is spoken, in Docker's words.
pub fn version(path: &str, oldest: Version) -> Result<(Version, &str)> {
    let versioned = path.strip_prefix("/v").and_then(|rest| {
        let (text, _) = rest.split_once('/')?;
        Some((text, Version::parse(text)?, &rest[text.len()..]))
    });
    let Some((text, version, rest)) = versioned else { return Ok((Version::newest(), path)) };
    if version < oldest {
        return Err(Error::invalid(format!(
            "client version {text} is too old. Minimum supported API version is {oldest}, please upgrade your \
             client to a newer version"
        )));
    }
    if version > Version::newest() {
        return Err(Error::invalid(format!(
            "client version {text} is too new. Maximum supported API version is {}",
            spec::api::API_VERSION
        )));
    }
    Ok((version, rest))
}

/// The operation behind a method and an unversioned path; `None` for a page that does not exist.
pub fn route(method: &Method, path: &str) -> Option<Route> {
    if *method == Method::OPTIONS {
        return Some(Route::Options);
    }
    let segments: Vec<String> =
        path.strip_prefix('/')?.trim_end_matches('/').split('/').map(|s| query::decode(s, false)).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    if segments.iter().any(|s| s.is_empty()) {
        return None;
    }
    match *method {
        Method::GET => get(&segments),
        Method::HEAD => head(&segments),
        Method::POST => post(&segments),
        Method::DELETE => delete(&segments),
        Method::PUT => put(&segments),
        _ => None,
    }
}

fn get(segments: &[&str]) -> Option<Route> {
    Some(match segments {
        ["_ping"] => Route::Ping,
        ["version"] => Route::Version,
        ["info"] => Route::Info,
        ["events"] => Route::Events,
        ["system", "df"] => Route::DiskUsage,
        ["containers", "json"] => Route::ContainerList,
        ["containers", id, "json"] => Route::ContainerInspect(owned(id)),
        ["containers", id, "top"] => Route::ContainerTop(owned(id)),
        ["containers", id, "logs"] => Route::ContainerLogs(owned(id)),
        ["containers", id, "changes"] => Route::ContainerChanges(owned(id)),
        ["containers", id, "export"] => Route::ContainerExport(owned(id)),
        ["containers", id, "stats"] => Route::ContainerStats(owned(id)),
        ["containers", id, "archive"] => Route::ArchiveGet(owned(id)),
        ["containers", id, "attach", "ws"] => Route::ContainerAttachSocket(owned(id)),
        ["containers", _, "checkpoints"] => Route::Missing("checkpoints"),
        ["exec", id, "json"] => Route::ExecInspect(owned(id)),
        ["images", "json"] => Route::ImageList,
        ["images", "search"] => Route::ImageSearch,
        ["images", "get"] => Route::ImageSave,
        ["images", name @ .., "json"] => Route::ImageInspect(joined(name)?),
        ["images", name @ .., "attestations"] => Route::ImageAttestations(joined(name)?),
        ["images", name @ .., "history"] => Route::ImageHistory(joined(name)?),
        ["images", name @ .., "layers"] => Route::ImageLayers(joined(name)?),
        ["images", name @ .., "get"] => Route::ImageGet(joined(name)?),
        ["distribution", name @ .., "json"] => Route::DistributionInspect(joined(name)?),
        ["volumes"] => Route::VolumeList,
        ["volumes", name] => Route::VolumeInspect(owned(name)),
        // Plugins call their volumes what they like.
        ["volumes", name @ .., "export"] => Route::VolumeExport(joined(name)?),
        ["volumes", name @ ..] => Route::VolumeInspect(joined(name)?),
        ["networks"] => Route::NetworkList,
        ["networks", id] => Route::NetworkInspect(owned(id)),
        ["plugins"] => Route::PluginList,
        ["plugins", "privileges"] => Route::Missing("managing plugins"),
        ["plugins", name @ .., "json"] => Route::Plugin(joined(name)?),
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..] => Route::Swarm,
        _ => return None,
    })
}

fn head(segments: &[&str]) -> Option<Route> {
    Some(match segments {
        ["_ping"] => Route::Ping,
        ["containers", id, "archive"] => Route::ArchiveStat(owned(id)),
        _ => return None,
    })
}

fn post(segments: &[&str]) -> Option<Route> {
    Some(match segments {
        ["auth"] => Route::Auth,
        ["build"] => Route::Build,
        ["build", "context"] => Route::BuildContext,
        ["build", "prune"] => Route::BuildPrune,
        ["build", "cancel"] => Route::BuildCancel,
        ["commit"] => Route::Commit,
        ["session"] => Route::Missing("BuildKit (set DOCKER_BUILDKIT=0)"),
        ["grpc"] => Route::Missing("BuildKit (set DOCKER_BUILDKIT=0)"),
        ["containers", "create"] => Route::ContainerCreate,
        ["containers", "prune"] => Route::ContainerPrune,
        ["containers", id, "resize"] => Route::ContainerResize(owned(id)),
        ["containers", id, "start"] => Route::ContainerStart(owned(id)),
        ["containers", id, "stop"] => Route::ContainerStop(owned(id)),
        ["containers", id, "restart"] => Route::ContainerRestart(owned(id)),
        ["containers", id, "kill"] => Route::ContainerKill(owned(id)),
        ["containers", id, "update"] => Route::ContainerUpdate(owned(id)),
        ["containers", id, "rename"] => Route::ContainerRename(owned(id)),
        ["containers", id, "pause"] => Route::ContainerPause(owned(id)),
        ["containers", id, "unpause"] => Route::ContainerUnpause(owned(id)),
        ["containers", id, "attach"] => Route::ContainerAttach(owned(id)),
        ["containers", id, "wait"] => Route::ContainerWait(owned(id)),
        ["containers", id, "exec"] => Route::ExecCreate(owned(id)),
        ["containers", _, "checkpoints"] => Route::Missing("checkpoints"),
        ["exec", id, "start"] => Route::ExecStart(owned(id)),
        ["exec", id, "resize"] => Route::ExecResize(owned(id)),
        ["images", "create"] => Route::ImageCreate,
        ["images", "load"] => Route::ImageLoad,
        ["images", "prune"] => Route::ImagePrune,
        ["images", name @ .., "push"] => Route::ImagePush(joined(name)?),
        ["images", name @ .., "tag"] => Route::ImageTag(joined(name)?),
        ["volumes", "create"] => Route::VolumeCreate,
        ["volumes", "prune"] => Route::VolumePrune,
        ["volumes", "import"] => Route::VolumeImport,
        ["volumes", name @ .., "copy"] => Route::VolumeCopy(joined(name)?),
        ["volumes", name @ .., "rename"] => Route::VolumeRename(joined(name)?),
        ["volumes", name @ .., "update"] => Route::VolumeUpdate(joined(name)?),
        ["networks", "create"] => Route::NetworkCreate,
        ["networks", "prune"] => Route::NetworkPrune,
        ["networks", id, "connect"] => Route::NetworkConnect(owned(id)),
        ["networks", id, "disconnect"] => Route::NetworkDisconnect(owned(id)),
        ["plugins", "pull" | "create"] => Route::Missing("managing plugins"),
        ["plugins", name @ .., "enable" | "disable" | "push" | "set" | "upgrade"] => {
            Route::Plugin(joined(name)?)
        }
        ["swarm", "init" | "join"] => Route::Missing("swarm mode"),
        ["swarm", "leave" | "unlock"] => Route::SwarmMember,
        ["swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs", ..] => Route::Swarm,
        _ => return None,
    })
}

fn delete(segments: &[&str]) -> Option<Route> {
    Some(match segments {
        ["containers", id] => Route::ContainerRemove(owned(id)),
        ["containers", _, "checkpoints", _] => Route::Missing("checkpoints"),
        // Of a link: `parent/alias`.
        ["containers", name @ ..] => Route::ContainerRemove(joined(name)?),
        ["images", name @ ..] => Route::ImageRemove(joined(name)?),
        ["volumes", name @ ..] => Route::VolumeRemove(joined(name)?),
        ["networks", id] => Route::NetworkRemove(owned(id)),
        ["plugins", name @ ..] => Route::Plugin(joined(name)?),
        ["nodes" | "services" | "secrets" | "configs", _] => Route::Swarm,
        _ => return None,
    })
}

fn put(segments: &[&str]) -> Option<Route> {
    Some(match segments {
        ["containers", id, "archive"] => Route::ArchivePut(owned(id)),
        ["volumes", name @ ..] => Route::VolumeClusterUpdate(joined(name)?),
        _ => return None,
    })
}

fn owned(segment: &str) -> String {
    segment.to_owned()
}

/// A name of one or more segments.
fn joined(segments: &[&str]) -> Option<String> {
    (!segments.is_empty()).then(|| segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_slashes() {
        for (method, path, expected) in [
            (Method::GET, "/images/a/b:c/json", Route::ImageInspect("a/b:c".into())),
            (Method::GET, "/images/json", Route::ImageList),
            (Method::GET, "/images/json/json", Route::ImageInspect("json".into())),
            (
                Method::GET,
                "/images/h:5000/a/b@sha256:00/history",
                Route::ImageHistory("h:5000/a/b@sha256:00".into()),
            ),
            (Method::GET, "/images/a%2Fb/get", Route::ImageGet("a/b".into())),
            (Method::GET, "/images/get", Route::ImageSave),
            (Method::POST, "/images/127.0.0.1:5000/x/push", Route::ImagePush("127.0.0.1:5000/x".into())),
            (Method::DELETE, "/images/a/b", Route::ImageRemove("a/b".into())),
            (Method::GET, "/containers/x/json", Route::ContainerInspect("x".into())),
            (Method::GET, "/containers/json", Route::ContainerList),
            (Method::HEAD, "/_ping", Route::Ping),
            (Method::GET, "/networks/", Route::NetworkList),
            (Method::POST, "/exec/1/start", Route::ExecStart("1".into())),
            (Method::GET, "/services", Route::Swarm),
            (Method::GET, "/volumes/a/b", Route::VolumeInspect("a/b".into())),
            (Method::GET, "/volumes/export", Route::VolumeInspect("export".into())),
            (Method::GET, "/volumes/a/export", Route::VolumeExport("a".into())),
            (Method::POST, "/volumes/import", Route::VolumeImport),
            (Method::DELETE, "/volumes/a/b", Route::VolumeRemove("a/b".into())),
            (Method::GET, "/distribution/a/b/json", Route::DistributionInspect("a/b".into())),
        ] {
            assert_eq!(route(&method, path), Some(expected), "{path}");
        }
    }

    #[test]
    fn other_pages_do_not_exist() {
        for (method, path) in [
            (Method::GET, "/"),
            (Method::GET, "/nothing"),
            (Method::POST, "/containers/json"),
            (Method::GET, "/containers//json"),
            (Method::DELETE, "/images"),
            (Method::PATCH, "/_ping"),
            (Method::GET, "/containers/x/start"),
        ] {
            assert_eq!(route(&method, path), None, "{path}");
        }
    }

    #[test]
    fn versions_have_a_window() {
        assert_eq!(version("/v1.43/info", Version::oldest()).unwrap(), (Version(1, 43), "/info"));
        assert_eq!(version("/info", Version::oldest()).unwrap(), (Version::newest(), "/info"));
        assert_eq!(version("/volumes/v1.2", Version::oldest()).unwrap().1, "/volumes/v1.2");
        let old = version("/v1.12/info", Version::oldest()).unwrap_err();
        assert!(
            old.message().starts_with("client version 1.12 is too old. Minimum supported API version is")
        );
        let new = version("/v9.0/info", Version::oldest()).unwrap_err();
        assert_eq!(new.message(), "client version 9.0 is too new. Maximum supported API version is 1.55");
    }
}
