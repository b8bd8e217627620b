//! What a container has mounted beside the standard mounts: `-v`, `--mount`, `--tmpfs`, `VOLUME`, `--volumes-from`.
//! Reading a request is pure ([`wanted`]); making the sources is [`super::create`]'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use spec::api::{self, ContainerConfig, HostConfig};

use crate::Error;
use crate::volume::LOCAL;

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
    /// The propagation is what a source around the data root needs, not what was asked for: none where the source's mount
    /// has none.
    #[serde(default)]
    pub(crate) slave_if_can: bool,
    /// Fill an empty volume from the image.
    pub(crate) copy: bool,
    /// Made with the container, and removed with it on request.
    pub(crate) anonymous: bool,
    /// Make the source of a bind when it is missing.
    pub(crate) create_source: bool,
    /// Without the mounts below the source.
    pub(crate) non_recursive: bool,
    /// Mounts below a read-only source stay as they are.
    #[serde(default)]
    pub(crate) read_only_here: bool,
    /// Files belong to the source's owner on the host, and to the container's user inside (`idmap`).
    #[serde(default)]
    pub(crate) match_user: bool,
    /// A volume whose files are not in a directory of ours: its driver, or the kernel, says where they are while it is
    /// used, and they belong to the host's ids.
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
    /// A volume's. Empty in a wish: whoever has one of that name, else the local one.
    #[serde(default = "local")]
    pub(crate) driver: String,
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

/// How deep a clean path is: parents are mounted before children.
pub(crate) fn depth(destination: &str) -> usize {
    destination.matches('/').count()
}

/// What records before there were others say nothing of.
fn local() -> String {
    LOCAL.into()
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
            slave_if_can: false,
            copy: kind == Kind::Volume,
            anonymous: false,
            create_source: false,
            non_recursive: false,
            read_only_here: false,
            match_user: false,
            host_directory: false,
            subpath: String::new(),
            layer: String::new(),
            options: Vec::new(),
            labels: BTreeMap::new(),
            driver: String::new(),
            driver_options: BTreeMap::new(),
        }
    }

    /// Whether it is a volume that, while it is empty, gets what the image has at its place.
    pub(crate) fn is_filled(&self) -> bool {
        self.kind == Kind::Volume && self.copy && self.subpath.is_empty()
    }

    /// The API's shape.
    pub(crate) fn api(&self) -> api::MountPoint {
        api::MountPoint {
            r#type: self.kind.word().into(),
            name: self.name.clone(),
            source: self.source.clone(),
            destination: self.destination.clone(),
            driver: if self.kind == Kind::Volume { self.driver.clone() } else { String::new() },
            mode: self.mode.clone(),
            rw: self.writable,
            propagation: match self.kind {
                Kind::Bind | Kind::Image if self.propagation.is_empty() => "rprivate".into(),
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
    let mut own: BTreeMap<String, MountPoint> = BTreeMap::new();
    let mut add = |mount: MountPoint| {
        if own.contains_key(&mount.destination) {
            return Err(Error::Invalid(format!("Duplicate mount point: {}", mount.destination)));
        }
        own.insert(mount.destination.clone(), mount);
        Ok(())
    };
    for bind in &host.binds {
        add(from_bind(bind, &host.volume_driver)?)?;
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
        own.entry(destination.clone()).or_insert_with(|| MountPoint {
            anonymous: true,
            driver: host.volume_driver.clone(),
            ..MountPoint::new(Kind::Volume, destination)
        });
    }
    let mut mounts: Vec<MountPoint> = own.into_values().collect();
    mounts.sort_by_key(|m| depth(&m.destination));
    Ok(mounts)
}

/// `-v [source:]destination[:mode]`. `driver`: of volumes (`--volume-driver`).
pub(super) fn from_bind(text: &str, driver: &str) -> Result<MountPoint, Error> {
    let invalid = || Error::Invalid(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [destination] => ("", destination, ""),
        // What looks like a mode has no place without a source.
        [_, mode] if is_mode(mode) => return Err(invalid()),
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return Err(invalid()),
    };
    if parts[0].is_empty() {
        return Err(invalid());
    }
    if !mode.is_empty() && !is_mode(mode) {
        return Err(Error::Invalid(format!("invalid mode: {mode}")));
    }
    let kind = if source.starts_with('/') { Kind::Bind } else { Kind::Volume };
    let wrong = |why: &str| {
        let kind = kind.word();
        Error::Invalid(format!(
            "invalid volume specification: '{text}': invalid mount config for type {kind:?}: {why}"
        ))
    };
    let words = || mode.split(',');
    if kind == Kind::Bind && words().any(|word| word == "nocopy") {
        return Err(wrong("field VolumeOptions must not be specified"));
    }
    if kind == Kind::Volume && words().any(is_propagation) {
        return Err(wrong("field BindOptions must not be specified"));
    }
    let destination = clean_destination(destination).map_err(|why| wrong(&why))?;
    let writable = !words().any(|word| word == "ro");
    let match_user = words().any(|word| word == "idmap");
    let of_kind = MountPoint { writable, match_user, ..MountPoint::new(kind, destination) };
    if kind == Kind::Bind {
        return Ok(MountPoint {
            source: clean(source),
            create_source: true,
            propagation: words().find(|word| is_propagation(word)).unwrap_or_default().to_owned(),
            mode: mode.to_owned(),
            ..of_kind
        });
    }
    check_volume_of(driver, source)?;
    Ok(MountPoint {
        name: source.to_owned(),
        anonymous: source.is_empty(),
        copy: !words().any(|word| word == "nocopy"),
        mode: shown_mode(mode, driver),
        driver: driver.to_owned(),
        ..of_kind
    })
}

/// Words of a mode, one of each sort at most: access, SELinux's label, propagation, copy, macOS's consistency, and ours.
fn is_mode(mode: &str) -> bool {
    let mut sorts = Vec::new();
    mode.split(',').all(|word| {
        let sort = match word {
            "rw" | "ro" => 0,
            "z" | "Z" => 1,
            "nocopy" => 3,
            "consistent" | "cached" | "delegated" => 4,
            "idmap" => 5,
            word if is_propagation(word) => 2,
            _ => return false,
        };
        let first = !sorts.contains(&sort);
        sorts.push(sort);
        first
    })
}

/// `--volumes-from container[:mode]`: the container, and whether what it has may be written to.
pub(crate) fn volumes_from(text: &str) -> Result<(&str, bool), Error> {
    if text.is_empty() {
        return Err(Error::Invalid("volumes-from specification cannot be an empty string".into()));
    }
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    // How it is propagated, copied and mapped is the other container's.
    let own = |word: &str| is_propagation(word) || matches!(word, "nocopy" | "idmap");
    if !mode.is_empty() && (!is_mode(mode) || mode.split(',').any(own)) {
        return Err(Error::Invalid(format!("invalid mode: {mode}")));
    }
    Ok((name, !mode.split(',').any(|word| word == "ro")))
}

/// What Docker shows of a local volume that was asked for without a mode.
fn shown_mode(mode: &str, driver: &str) -> String {
    if mode.is_empty() && matches!(driver, "" | LOCAL) { "z".into() } else { mode.to_owned() }
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
    for (given, kind, name) in [
        (mount.bind_options.is_some(), "bind", "BindOptions"),
        (mount.volume_options.is_some(), "volume", "VolumeOptions"),
        (mount.image_options.is_some(), "image", "ImageOptions"),
        (mount.tmpfs_options.is_some(), "tmpfs", "TmpfsOptions"),
    ] {
        if given && mount.r#type != kind {
            return Err(invalid(&format!("field {name} must not be specified")));
        }
    }
    if mount.target.is_empty() {
        return Err(invalid("field Target must not be empty"));
    }
    let destination = clean_destination(&mount.target).map_err(|why| invalid(&why))?;
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
                return Err(invalid(&format!("invalid propagation mode: {}", options.propagation)));
            }
            check_read_only(mount.read_only, &options)?;
            MountPoint {
                source: clean(&mount.source),
                propagation: options.propagation,
                create_source: options.create_mountpoint,
                non_recursive: options.non_recursive,
                read_only_here: options.read_only_non_recursive,
                match_user: options.match_user,
                ..MountPoint::new(Kind::Bind, destination)
            }
        }
        "volume" => {
            let options = mount.volume_options.clone().unwrap_or_default();
            let driver = options.driver_config.unwrap_or_default();
            check_volume_of(&driver.name, &mount.source)?;
            if mount.source.is_empty() && !options.subpath.is_empty() {
                return Err(invalid("must not set Subpath when using anonymous volumes"));
            }
            check_subpath(&options.subpath).map_err(invalid)?;
            MountPoint {
                name: mount.source.clone(),
                anonymous: mount.source.is_empty(),
                copy: !options.no_copy,
                subpath: options.subpath,
                match_user: options.match_user,
                labels: options.labels,
                mode: shown_mode("", &driver.name),
                driver: driver.name,
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
            if options.mode != 0 {
                words.push(format!("mode={:o}", options.mode));
            }
            if options.size_bytes != 0 {
                words.push(format!("size={}", options.size_bytes));
            }
            for pair in &options.options {
                match &pair[..] {
                    [word] | [word, _] if matches!(word.as_str(), "exec" | "noexec") => {}
                    [word] | [word, _] => return Err(invalid(&format!("invalid option: {word}"))),
                    _ => return Err(invalid("invalid option array length")),
                }
                words.push(pair.join("="));
            }
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

/// How far read-only reaches may be said of a mount that is read-only, and in one way.
fn check_read_only(read_only: bool, options: &api::BindOptions) -> Result<(), Error> {
    let (here, everywhere) = (options.read_only_non_recursive, options.read_only_force_recursive);
    let conflict = match (read_only, here, everywhere) {
        (_, false, false) | (true, true, false) | (true, false, true) => return Ok(()),
        (false, true, _) => "!ReadOnly && BindOptions.ReadOnlyNonRecursive",
        (false, false, true) => "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
        (true, true, true) => "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
    };
    Err(Error::Invalid(format!("mount options conflict: {conflict}")))
}

fn check_subpath(path: &str) -> Result<(), &'static str> {
    let mut depth = 0_i32;
    let leaves = path.split('/').any(|part| {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    });
    if path.starts_with('/') || leaves {
        return Err("subpath must be a relative path within the volume");
    }
    Ok(())
}

/// Takes the wish for a mount at `destination` out of a request.
pub(crate) fn forget(host: &mut HostConfig, config: &mut ContainerConfig, destination: &str) {
    let is_at = |mount: Result<MountPoint, Error>| mount.is_ok_and(|m| m.destination == destination);
    let driver = host.volume_driver.clone();
    host.binds.retain(|bind| !is_at(from_bind(bind, &driver)));
    host.mounts.retain(|mount| !is_at(from_mount(mount)));
    host.tmpfs.retain(|path, _| clean(path) != destination);
    config.volumes.retain(|path, _| clean(path) != destination);
}

/// Plugins call their volumes what they like.
fn check_volume_of(driver: &str, name: &str) -> Result<(), Error> {
    if !matches!(driver, "" | LOCAL) {
        return Ok(());
    }
    check_volume_name(name).map_err(|error| Error::Invalid(format!("create {name}: {error}")))
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
        "{name:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
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
            (&["aa:/x:ro,rw"], "invalid mode: ro,rw"),
            (&["aa:/x:z,Z"], "invalid mode: z,Z"),
            (&["/a:/x:rslave,shared"], "invalid mode: rslave,shared"),
            (&["/a:/x:,ro"], "invalid mode: ,ro"),
            (&["/x:ro"], "invalid volume specification: '/x:ro'"),
            (&[":/x"], "invalid volume specification: ':/x'"),
            (&["aa:"], "invalid volume specification: 'aa:'"),
            (
                &["/a:/x:nocopy"],
                "invalid volume specification: '/a:/x:nocopy': invalid mount config for type \"bind\": field \
                 VolumeOptions must not be specified",
            ),
            (
                &["aa:/x:rshared"],
                "invalid volume specification: 'aa:/x:rshared': invalid mount config for type \"volume\": field \
                 BindOptions must not be specified",
            ),
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
    fn what_contradicts_itself_is_refused() {
        let mount = |kind: &str, source: &str| api::Mount {
            r#type: kind.into(),
            source: source.into(),
            target: "/x".into(),
            ..api::Mount::default()
        };
        let bind = |change: fn(&mut api::Mount, &mut api::BindOptions)| {
            let (mut mount, mut options) = (mount("bind", "/a"), api::BindOptions::default());
            change(&mut mount, &mut options);
            api::Mount { bind_options: Some(options), ..mount }
        };
        let subpath = |source: &str, path: &str| api::Mount {
            volume_options: Some(api::VolumeOptions { subpath: path.into(), ..Default::default() }),
            ..mount("volume", source)
        };
        let tmpfs = |words: &[&str]| api::Mount {
            tmpfs_options: Some(api::TmpfsOptions {
                options: vec![words.iter().map(|w| (*w).to_owned()).collect()],
                ..Default::default()
            }),
            ..mount("tmpfs", "")
        };
        for (mount, why) in [
            (bind(|_, o| o.read_only_non_recursive = true), "!ReadOnly && BindOptions.ReadOnlyNonRecursive"),
            (
                bind(|_, o| o.read_only_force_recursive = true),
                "!ReadOnly && BindOptions.ReadOnlyForceRecursive",
            ),
            (
                bind(|m, o| {
                    m.read_only = true;
                    (o.read_only_non_recursive, o.read_only_force_recursive) = (true, true);
                }),
                "ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive",
            ),
            (bind(|_, o| o.propagation = "far".into()), "invalid propagation mode: far"),
            (bind(|m, _| m.source.clear()), "field Source must not be empty"),
            (bind(|m, _| "a".clone_into(&mut m.source)), "mount path must be absolute"),
            (bind(|m, _| m.target.clear()), "field Target must not be empty"),
            (bind(|m, _| "tmpfs".clone_into(&mut m.r#type)), "field BindOptions must not be specified"),
            (subpath("", "a"), "must not set Subpath when using anonymous volumes"),
            (subpath("data", "a/../../b"), "subpath must be a relative path within the volume"),
            (subpath("data", "/a"), "subpath must be a relative path within the volume"),
            (tmpfs(&["suid"]), "invalid option: suid"),
            (tmpfs(&["exec", "a", "b"]), "invalid option array length"),
            (mount("tmpfs", "/a"), "field Source must not be specified"),
            (mount("image", ""), "field Source must not be empty"),
        ] {
            let error = from_mount(&mount).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
        assert!(from_mount(&subpath("data", "a/../b")).is_ok() && from_mount(&tmpfs(&["exec"])).is_ok());
        let here = bind(|m, o| (m.read_only, o.read_only_non_recursive) = (true, true));
        assert!(from_mount(&here).unwrap().read_only_here);
    }

    #[test]
    fn other_containers_volumes_are_named_with_an_access() {
        assert_eq!(volumes_from("c1:ro,z").unwrap(), ("c1", false));
        assert_eq!(volumes_from("c1").unwrap(), ("c1", true));
        for bad in ["", "c1:fast", "c1:rslave", "c1:nocopy", "c1:ro,rw"] {
            assert!(volumes_from(bad).is_err(), "{bad}");
        }
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
