//! What a container has mounted beside the standard mounts: `-v`, `--mount`, `--tmpfs`, `VOLUME`, `--volumes-from`.
//! Reading a request is pure ([`wanted`]); making the sources is [`super::create`]'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec::api::{self, ContainerConfig, HostConfig};

use crate::Error;

/// One mount, as recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MountPoint {
    pub(crate) kind: Kind,
    /// The volume's, or the image's as it was asked for; empty for others. A wanted volume without a name is anonymous
    /// and gets one.
    pub(crate) name: String,
    /// On the host; of an image its id. Empty for tmpfs, and for volumes and images until they are made or found.
    pub(crate) source: String,
    /// In the container, clean and absolute.
    pub(crate) destination: String,
    /// As written after the second colon of `-v`, or what Docker shows without one.
    pub(crate) mode: String,
    pub(crate) writable: bool,
    /// `rprivate`, `rshared` …; empty is the default.
    pub(crate) propagation: String,
    /// Fill an empty volume from the image.
    pub(crate) copy: bool,
    /// Made with the container, and removed with it on request.
    pub(crate) anonymous: bool,
    /// Make the source of a bind when it is missing.
    pub(crate) create_source: bool,
    /// Without the mounts below the source.
    pub(crate) non_recursive: bool,
    /// Files belong to the source's owner on the host, and to the container's user inside (`idmap`).
    #[serde(default)]
    pub(crate) match_user: bool,
    /// A volume that stands for a directory of the host's, whose files belong to the host's ids.
    #[serde(default)]
    pub(crate) host_directory: bool,
    /// Below the volume's root, or the image's.
    pub(crate) subpath: String,
    /// Of an image: the layer of the container's own above it. Nothing is ever written there; it keeps the image's layers
    /// from the collector, and goes with the container.
    #[serde(default)]
    pub(crate) layer: String,
    /// Of a tmpfs.
    pub(crate) options: Vec<String>,
    /// For a volume that has to be made.
    pub(crate) labels: BTreeMap<String, String>,
    /// For a volume that has to be made.
    pub(crate) driver_options: BTreeMap<String, String>,
}

/// What kind of mount it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A host path.
    Bind,
    /// A volume.
    Volume,
    /// Memory.
    Tmpfs,
    /// An image's files, without writing.
    Image,
}

impl Kind {
    /// The API's word.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Volume => "volume",
            Self::Tmpfs => "tmpfs",
            Self::Image => "image",
        }
    }
}

impl MountPoint {
    fn new(kind: Kind, destination: String) -> Self {
        Self {
            kind,
            name: String::new(),
            source: String::new(),
            destination,
            mode: String::new(),
            writable: true,
            propagation: String::new(),
            copy: kind == Kind::Volume,
            anonymous: false,
            create_source: false,
            non_recursive: false,
            match_user: false,
            host_directory: false,
            subpath: String::new(),
            layer: String::new(),
            options: Vec::new(),
            labels: BTreeMap::new(),
            driver_options: BTreeMap::new(),
        }
    }

    /// The API's shape.
    pub(crate) fn api(&self) -> api::MountPoint {
        api::MountPoint {
            r#type: self.kind.word().into(),
            name: self.name.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            driver: if self.kind == Kind::Volume { "local".into() } else { String::new() },
            mode: self.mode.clone(),
            rw: self.writable,
            propagation: match self.kind {
                Kind::Bind if self.propagation.is_empty() => "rprivate".into(),
                Kind::Bind | Kind::Volume | Kind::Tmpfs | Kind::Image => self.propagation.clone(),
            },
        }
    }
}

/// All mounts a request asks for, parents before children. `inherited` are those of `--volumes-from`: they yield to
/// the request's own.
pub(crate) fn wanted(
    config: &ContainerConfig,
    host: &HostConfig,
    inherited: Vec<MountPoint>,
) -> Result<Vec<MountPoint>, Error> {
    if !matches!(host.volume_driver.as_str(), "" | "local") {
        return Err(no_driver(&host.volume_driver));
    }
    let mut own: BTreeMap<String, MountPoint> = BTreeMap::new();
    let mut add = |mount: MountPoint| {
        if own.contains_key(&mount.destination) {
            return Err(Error::Invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        own.insert(mount.destination.clone(), mount);
        Ok(())
    };
    for bind in &host.binds {
        add(from_bind(bind)?)?;
    }
    for (destination, options) in &host.tmpfs {
        add(from_tmpfs(destination, options)?)?;
    }
    for mount in &host.mounts {
        add(from_mount(mount)?)?;
    }
    for mount in inherited {
        own.entry(mount.destination.clone()).or_insert(mount);
    }
    for path in config.volumes.keys() {
        let destination = clean_destination(path).map_err(Error::Invalid)?;
        own.entry(destination.clone())
            .or_insert_with(|| MountPoint { anonymous: true, ..MountPoint::new(Kind::Volume, destination) });
    }
    let mut mounts: Vec<MountPoint> = own.into_values().collect();
    mounts.sort_by_key(|m| m.destination.matches('/').count());
    Ok(mounts)
}

/// `-v [source:]destination[:mode]`.
fn from_bind(text: &str) -> Result<MountPoint, Error> {
    let invalid = || Error::Invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => ("", destination, ""),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    if parts.len() > 1 && source.is_empty() {
        return Err(invalid());
    }
    let kind = if source.starts_with('/') { "bind" } else { "volume" };
    let destination = clean_destination(destination).map_err(|why| {
        let why = format!("invalid mount config for type {kind:?}: {why}");
        Error::Invalid(format!("invalid volume specification: '{text}': {why}"))
    })?;
    let mut mount = if source.starts_with('/') {
        MountPoint { source: clean(source), create_source: true, ..MountPoint::new(Kind::Bind, destination) }
    } else {
        check_volume_name(source)?;
        MountPoint {
            name: source.to_owned(),
            anonymous: source.is_empty(),
            ..MountPoint::new(Kind::Volume, destination)
        }
    };
    mount.mode = match mount.kind {
        // What Docker shows of a volume that was asked for without a mode.
        Kind::Volume if mode.is_empty() => "z".into(),
        _ => mode.to_owned(),
    };
    let bad_mode = || Error::Invalid(format!("invalid mode: {mode}"));
    for word in mode.split(',').filter(|w| !w.is_empty()) {
        match word {
            "rw" => mount.writable = true,
            "ro" => mount.writable = false,
            // SELinux labels and macOS consistency: nothing to do on a host without them.
            "z" | "Z" | "cached" | "delegated" | "consistent" => {}
            "idmap" => mount.match_user = true,
            "nocopy" if mount.kind == Kind::Volume => mount.copy = false,
            word if is_propagation(word) && mount.kind == Kind::Bind => mount.propagation = word.to_owned(),
            _ => return Err(bad_mode()),
        }
    }
    Ok(mount)
}

/// `--tmpfs destination[:options]`.
fn from_tmpfs(destination: &str, options: &str) -> Result<MountPoint, Error> {
    let mut mount = MountPoint::new(Kind::Tmpfs, clean_destination(destination).map_err(Error::Invalid)?);
    mount.mode = options.to_owned();
    mount.options = tmpfs_options(options.split(',').filter(|o| !o.is_empty()))?;
    Ok(mount)
}

/// Docker's defaults for a tmpfs, each overruled by its opposite.
fn tmpfs_options<'a>(options: impl Iterator<Item = &'a str>) -> Result<Vec<String>, Error> {
    const OPPOSITES: [(&str, &str); 5] =
        [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev"), ("rw", "ro"), ("sync", "async")];
    const ALONE: [&str; 8] = [
        "atime",
        "noatime",
        "diratime",
        "nodiratime",
        "relatime",
        "norelatime",
        "strictatime",
        "nostrictatime",
    ];
    const VALUED: [&str; 8] = ["size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"];
    let mut merged: Vec<String> = ["rw", "noexec", "nosuid", "nodev"].map(str::to_owned).into();
    for option in options {
        let key = option.split_once('=').map_or(option, |(key, _)| key);
        let pair = OPPOSITES.iter().find(|(a, b)| *a == option || *b == option);
        let known =
            pair.is_some() || ALONE.contains(&option) || (VALUED.contains(&key) && option.contains('='));
        if !known {
            return Err(Error::Invalid(format!("invalid tmpfs option [{option:?}]")));
        }
        merged.retain(|o| {
            let opposite = pair.is_some_and(|(a, b)| o == a || o == b);
            let same_key = o.split_once('=').is_some_and(|(k, _)| k == key);
            !opposite && !same_key && o != option
        });
        merged.push(option.to_owned());
    }
    Ok(merged)
}

/// `--mount type=…`.
pub(crate) fn from_mount(mount: &api::Mount) -> Result<MountPoint, Error> {
    let invalid =
        |why: &str| Error::Invalid(format!("invalid mount config for type {:?}: {why}", mount.r#type));
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = clean_destination(&mount.target).map_err(|why| invalid(&why))?;
    for (given, kind, name) in [
        (mount.bind_options.is_some(), "bind", "BindOptions"),
        (mount.volume_options.is_some(), "volume", "VolumeOptions"),
        (mount.image_options.is_some(), "image", "ImageOptions"),
        (mount.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ] {
        if given && mount.r#type != kind && is_known(&mount.r#type) {
            return Err(invalid(&format!("field {name} must not be specified")));
        }
    }
    let mut point = match mount.r#type.as_str() {
        "bind" => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            if !mount.source.starts_with('/') {
                return Err(invalid(&format!(
                    "invalid mount path: '{}' mount path must be absolute",
                    mount.source
                )));
            }
            let options = mount.bind_options.clone().unwrap_or_default();
            if !options.propagation.is_empty() && !is_propagation(&options.propagation) {
                return Err(invalid(&format!("invalid propagation: {}", options.propagation)));
            }
            MountPoint {
                source: clean(&mount.source),
                propagation: options.propagation,
                create_source: options.create_mountpoint,
                non_recursive: options.non_recursive,
                match_user: options.match_user,
                ..MountPoint::new(Kind::Bind, destination)
            }
        }
        "volume" => {
            check_volume_name(&mount.source)?;
            let options = mount.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            if !matches!(driver.name.as_str(), "" | "local") {
                return Err(no_driver(&driver.name));
            }
            check_subpath(&options.subpath).map_err(invalid)?;
            MountPoint {
                name: mount.source.clone(),
                anonymous: mount.source.is_empty(),
                copy: !options.no_copy,
                subpath: options.subpath,
                match_user: options.match_user,
                labels: options.labels,
                driver_options: driver.options,
                ..MountPoint::new(Kind::Volume, destination)
            }
        }
        "tmpfs" => {
            if !mount.source.is_empty() {
                return Err(invalid("field Source must not be specified"));
            }
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            let mut words = Vec::new();
            if options.size_bytes != 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            words.extend(options.options.iter().map(|pair| pair.join("=")));
            let mut point = MountPoint::new(Kind::Tmpfs, destination);
            point.options = tmpfs_options(words.iter().map(String::as_str))?;
            point
        }
        "image" => {
            if mount.source.is_empty() {
                return Err(invalid("field Source must not be empty"));
            }
            let subpath = mount.image_options.clone().unwrap_or_default().subpath;
            check_subpath(&subpath).map_err(invalid)?;
            MountPoint {
                name: mount.source.clone(),
                writable: false,
                subpath,
                ..MountPoint::new(Kind::Image, destination)
            }
        }
        _ => return Err(invalid("mount type unknown")),
    };
    if mount.read_only {
        point.writable = false;
        if point.kind == Kind::Tmpfs {
            point.options.retain(|o| o != "rw");
            point.options.push("ro".into());
        }
    }
    Ok(point)
}

fn is_known(kind: &str) -> bool {
    matches!(kind, "bind" | "volume" | "tmpfs" | "image")
}

fn check_subpath(path: &str) -> Result<(), &'static str> {
    if path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err("subpath must be a relative path within the volume");
    }
    Ok(())
}

/// Takes the wish for a mount at `destination` out of a request.
pub(crate) fn forget(host: &mut HostConfig, config: &mut ContainerConfig, destination: &str) {
    let is_at = |mount: Result<MountPoint, Error>| mount.is_ok_and(|m| m.destination == destination);
    host.binds.retain(|bind| !is_at(from_bind(bind)));
    host.mounts.retain(|mount| !is_at(from_mount(mount)));
    host.tmpfs.retain(|path, _| clean(path) != destination);
    config.volumes.retain(|path, _| clean(path) != destination);
}

fn no_driver(name: &str) -> Error {
    // From a 404 of a create the client would conclude that the image is missing.
    Error::Invalid(format!("error looking up volume plugin {name}: plugin {name:?} not found"))
}

fn is_propagation(word: &str) -> bool {
    matches!(word, "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave")
}

/// A volume's name as Docker allows it; empty is anonymous.
pub(crate) fn check_volume_name(name: &str) -> Result<(), Error> {
    if name.is_empty() || crate::names::is_valid(name) {
        return Ok(());
    }
    if name.len() == 1 {
        return Err(Error::Invalid(
            "volume name is too short, names should be at least two alphanumeric characters".into(),
        ));
    }
    Err(Error::Invalid(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )))
}

/// A destination as it is recorded, or what is wrong with it.
fn clean_destination(path: &str) -> Result<String, String> {
    if !path.starts_with('/') {
        return Err(format!("invalid mount path: '{path}' mount path must be absolute"));
    }
    let cleaned = clean(path);
    if cleaned == "/" {
        return Err("invalid specification: destination can't be '/'".into());
    }
    Ok(cleaned)
}

/// An absolute path without `.`, `..` and doubled slashes. (Words only: symbolic links are resolved where the path is
/// used, inside its root.)
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binds(texts: &[&str]) -> Result<Vec<MountPoint>, Error> {
        let host =
            HostConfig { binds: texts.iter().map(|t| (*t).to_owned()).collect(), ..HostConfig::default() };
        wanted(&ContainerConfig::default(), &host, Vec::new())
    }

    #[test]
    fn binds_are_told_from_volumes() {
        let bind = &binds(&["/a/../b:/x/y/:ro,rslave"]).unwrap()[0];
        assert_eq!((bind.kind, bind.source.as_str(), bind.destination.as_str()), (Kind::Bind, "/b", "/x/y"));
        assert!(!bind.writable && bind.create_source);
        assert_eq!(bind.propagation, "rslave");
        let volume = &binds(&["data:/x:nocopy"]).unwrap()[0];
        assert_eq!((volume.kind, volume.name.as_str(), volume.copy), (Kind::Volume, "data", false));
        assert!(binds(&["/x"]).unwrap()[0].anonymous);
    }

    #[test]
    fn bad_mounts_are_refused_in_dockers_words() {
        for (bad, text) in [
            (&["a:/"][..], "destination can't be '/'"),
            (&["a:b"], "mount path must be absolute"),
            (&["aa:/x:fast"], "invalid mode: fast"),
            (&["/a:/x:nocopy"], "invalid mode: nocopy"),
            (&["./a:/x"], "includes invalid characters for a local volume name"),
            (&["a1:/x", "b1:/x/"], "Duplicate mount point: /x"),
            (&["a:/x:rw:z"], "invalid volume specification: 'a:/x:rw:z'"),
        ] {
            let error = binds(bad).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
        let mount = api::Mount { r#type: "npipe".into(), target: "/x".into(), ..api::Mount::default() };
        assert_eq!(
            from_mount(&mount).unwrap_err().to_string(),
            "invalid mount config for type \"npipe\": mount type unknown"
        );
    }

    #[test]
    fn parents_come_before_children_and_the_request_wins() {
        let config = ContainerConfig {
            volumes: ["/x", "/deep/er/est"].map(|v| (v.to_owned(), Default::default())).into(),
            ..ContainerConfig::default()
        };
        let host = HostConfig { binds: vec!["/h:/x".into()], ..HostConfig::default() };
        let inherited = vec![
            MountPoint { name: "from".into(), ..MountPoint::new(Kind::Volume, "/x".into()) },
            MountPoint { name: "from".into(), ..MountPoint::new(Kind::Volume, "/a/b".into()) },
        ];
        let mounts = wanted(&config, &host, inherited).unwrap();
        let seen: Vec<_> = mounts.iter().map(|m| (m.destination.as_str(), m.kind.word())).collect();
        assert_eq!(seen, [("/x", "bind"), ("/a/b", "volume"), ("/deep/er/est", "volume")]);
    }

    #[test]
    fn tmpfs_options_replace_their_opposites() {
        assert_eq!(
            tmpfs_options("exec,size=64m,size=1m".split(',')).unwrap(),
            ["rw", "nosuid", "nodev", "exec", "size=1m"]
        );
        assert!(tmpfs_options("evil".split(',')).is_err());
    }
}
