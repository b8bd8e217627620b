//! The configuration's mounts, in its order.
//!
//! What comes from the host (sources of bind mounts, cgroup directories) is opened before the root changes; the
//! targets are made and opened inside the new root; a mount is moved from descriptor to descriptor.

mod copy_up;
mod options;
mod overlay;
mod proc;
mod source;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use spec::oci::runtime::{self, Spec};
use sys::cgroup::{Cgroup, Version};
use sys::mount::{Attributes, Depth, Mount, Propagation};
use sys::namespace::Namespaces;
use sys::root::{Follow, Kind, Metadata, OpenFile, Root};

use crate::Failure;
use crate::failure::at_path;
use crate::idmap::{self, Owners};
use crate::namespaces::Plan;
use options::Options;

pub(crate) use options::WORDS as OPTIONS;
pub(crate) use overlay::map_layers;

/// What is mounted where, in the configuration's order.
#[derive(Debug)]
pub(crate) struct Planned {
    destination: String,
    options: Options,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A new instance of a file system.
    New { kind: String, source: String },
    /// The same, made already by a process that may.
    Made(Mount),
    /// A copy of something on the host.
    Bind(Mount),
    /// An overlay of directories of the host; [`make_overlays`] makes it.
    Overlay,
    /// The container's own cgroups of a v1 host: (name of the hierarchy's directory, its controllers, copy).
    Cgroups(Vec<(String, Vec<String>, Mount)>),
}

/// Opens everything that comes from the host. To be called while the host's tree is still the root.
pub(crate) fn open_sources(
    spec: &Spec,
    cgroup: &Cgroup,
    plan: &Plan,
    owners: &Owners<'_>,
) -> Result<Vec<Planned>, Failure> {
    let label = &spec.linux.mount_label;
    spec.mounts.iter().map(|mount| open_source(mount, cgroup, label, Some(plan), owners)).collect()
}

/// Opens what one mount needs from the host. Without a plan, for a container that runs.
pub(crate) fn open_source(
    mount: &runtime::Mount,
    cgroup: &Cgroup,
    label: &str,
    plan: Option<&Plan>,
    owners: &Owners<'_>,
) -> Result<Planned, Failure> {
    let destination = mount.destination.clone();
    let mut options = Options::parse(&mount.options);
    let kind = mount.r#type.as_str();
    options.kernels = matches!(kind, "proc" | "sysfs");
    options.inherits_mode = kind == "tmpfs" && !options.data.iter().any(|word| word.starts_with("mode="));
    // Mount points and devices are still to be made in it.
    options.late_read_only = kind == "tmpfs" && options.add.contains(Attributes::READ_ONLY);
    if options.late_read_only {
        options.add = options.add.without(Attributes::READ_ONLY);
    }
    let bound = options.bind.or((kind == "bind").then_some(Depth::All));
    if bound.is_none() && !label.is_empty() && takes_label(kind) {
        options.data.push(format!("context={label}"));
    }
    let what = if let Some(depth) = bound {
        let copy = source::open(&mount.source, options.subpath.as_deref(), depth)?;
        map_ids(&copy, mount, &options, owners)?;
        What::Bind(copy)
    } else if kind == "overlay" {
        What::Overlay
    } else if plan.is_some_and(|plan| is_foreign(kind, plan)) {
        What::Made(new(kind, &mount.source, &destination, &options)?)
    } else if matches!(kind, "cgroup" | "cgroup2") {
        match cgroup.version() {
            // One more mount of the host's own tree would take the options of the host's away (nsdelegate, favordynmods: what a mount
            // says holds for all), and wait for a grace period of RCU, some 20 ms, to do so.
            Version::V2 if plan.is_some_and(|plan| !plan.has_cgroup()) && options.data.is_empty() => {
                What::Bind(copy_unified(cgroup)?)
            }
            Version::V2 if plan.is_some_and(|plan| plan.user.is_some() && !plan.has_cgroup()) => {
                What::Made(new("cgroup2", "cgroup", &destination, &options)?)
            }
            Version::V2 => What::New { kind: "cgroup2".into(), source: "cgroup".into() },
            Version::V1 => What::Cgroups(open_cgroups(cgroup)?),
        }
    } else {
        What::New { kind: kind.to_owned(), source: mount.source.clone() }
    };
    Ok(Planned { destination, options, what })
}

/// Makes what is an overlay. To be called while the host's tree is still the root, when nothing that is mounted reaches
/// the host any more.
pub(crate) fn make_overlays(planned: &mut [Planned], owners: &Owners<'_>) -> Result<(), Failure> {
    for one in planned.iter_mut().filter(|one| matches!(one.what, What::Overlay)) {
        let data = std::mem::take(&mut one.options.data);
        let owners = one.options.map_ids.is_some().then_some(owners);
        one.what = What::Bind(overlay::make(&one.destination, &data, owners)?);
    }
    Ok(())
}

/// For a runtime that knows the specification's mounts only: what has to be opened here and now, because ours is asked
/// for more (a part of the source, other owners) or because it propagates. Otherwise the source's path will do.
pub(crate) fn open_beyond(mount: &runtime::Mount, owners: &Owners<'_>) -> Result<Option<Mount>, Failure> {
    let options = Options::parse(&mount.options);
    let Some(depth) = options.bind.or((mount.r#type == "bind").then_some(Depth::All)) else {
        return Ok(None);
    };
    let propagates = options.propagation.is_some_and(|(propagation, _)| propagation != Propagation::Private);
    let maps_ids = options.map_ids.is_some() || !mount.uid_mappings.is_empty();
    if !propagates && !maps_ids && options.subpath.is_none() {
        return Ok(None);
    }
    let copy = source::open(&mount.source, options.subpath.as_deref(), depth)?;
    map_ids(&copy, mount, &options, owners)?;
    Ok(Some(copy))
}

/// The same for what is made when nothing reaches the host any more: overlays.
pub(crate) fn make_beyond(mount: &runtime::Mount, owners: &Owners<'_>) -> Result<Option<Mount>, Failure> {
    if mount.r#type != "overlay" {
        return Ok(None);
    }
    let options = Options::parse(&mount.options);
    let owners = options.map_ids.is_some().then_some(owners);
    overlay::make(&mount.destination, &options.data, owners).map(Some)
}

/// The mount that remains to be made by that runtime, of what was opened or made and attached at `source`.
pub(crate) fn plain(mount: &runtime::Mount, source: &str) -> runtime::Mount {
    let ours = |word: &String| word.contains('=') || matches!(word.as_str(), "idmap" | "ridmap");
    let mut options: Vec<String> = mount.options.iter().filter(|word| !ours(word)).cloned().collect();
    if !options.iter().any(|word| word == "bind" || word == "rbind") {
        options.insert(0, "rbind".into());
    }
    let (destination, source) = (mount.destination.clone(), source.to_owned());
    runtime::Mount { destination, source, r#type: "bind".into(), options, ..runtime::Mount::default() }
}

fn copy_unified(cgroup: &Cgroup) -> Result<Mount, Failure> {
    let point = cgroup.directories().next().map_or("/sys/fs/cgroup", |(point, ..)| point);
    Mount::copy(Path::new(point), Depth::One).map_err(at_path("mount", point))
}

fn open_cgroups(cgroup: &Cgroup) -> Result<Vec<(String, Vec<String>, Mount)>, Failure> {
    cgroup
        .directories()
        .map(|(point, directory, controllers)| {
            let name = Path::new(point).file_name().unwrap_or_default().to_string_lossy().into_owned();
            let copy = Mount::copy(Path::new(directory), Depth::One).map_err(at_path("mount", directory))?;
            Ok((name, controllers.to_vec(), copy))
        })
        .collect()
}

/// What was mounted, held: a name in the container's tree may lead somewhere else a moment later.
#[derive(Debug, Default)]
pub(crate) struct Mounted(Vec<(PathBuf, Mount, Late)>);

/// What is done to a mount at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    Nothing,
    ReadOnly,
}

impl Mounted {
    /// The last mount that `path` lies on or below, and the rest of the path in it.
    pub(crate) fn below<'p>(&self, path: &'p str) -> Option<(&Mount, &'p Path)> {
        let path = Path::new(path);
        let over = |(destination, mount)| Some((mount, path.strip_prefix::<&PathBuf>(destination).ok()?));
        self.0.iter().rev().map(|(destination, mount, _)| (destination, mount)).find_map(over)
    }

    /// Nothing is made in them any more.
    pub(crate) fn finish(&self) -> Result<(), Failure> {
        for (destination, mount, _) in self.0.iter().filter(|(.., late)| *late == Late::ReadOnly) {
            let destination = destination.to_string_lossy();
            let set = mount.set(Attributes::READ_ONLY, Attributes::empty(), Depth::One);
            set.map_err(at_path("mount", &destination))?;
        }
        Ok(())
    }
}

/// What a mount is mounted on.
#[derive(Debug)]
pub(crate) struct Point {
    path: String,
    /// Otherwise a file; `None` for what is known only when the mount's source is opened.
    directory: Option<bool>,
}

impl Point {
    /// A source that is not there is a file that is still to be written: directories have to be there.
    pub(crate) fn of(mount: &runtime::Mount) -> Self {
        let bound = mount.r#type == "bind" || Options::parse(&mount.options).bind.is_some();
        // Of a bind or of an overlay: something in it.
        let part = mount.options.iter().any(|option| option.starts_with("subpath="));
        let directory = match (part, bound) {
            (true, _) => None,
            (false, true) => Some(std::fs::metadata(&mount.source).is_ok_and(|source| source.is_dir())),
            (false, false) => Some(true),
        };
        Self { path: mount.destination.clone(), directory }
    }
}

/// Makes what is missing of them in the container's root, so that [`mount_all`] finds it. What lies in another mount is left to
/// that, and so is whatever cannot be made.
pub(crate) fn make_points(root: &Root, points: &[Point]) {
    let mut covered: Vec<PathBuf> = Vec::new();
    for point in points {
        let Ok(path) = root.canonical(&point.path) else { return };
        if !covered.iter().any(|other| path.starts_with(other)) {
            let _ = match point.directory {
                Some(true) => root.create_dirs(&path, 0o755).map(drop),
                Some(false) => root.touch(&path, 0o755, 0o644).map(drop),
                None => Ok(()),
            };
        }
        covered.push(path);
    }
}

/// Makes the container's procfs before anything is mounted, and opens its top. What is opened from there is the kernel's:
/// nothing of the container's tree can stand in its place, and inside a procfs nothing is mounted but what [`proc::check`]
/// lets pass. `None`: the configuration has none, or one that shows or takes less than a plain one.
pub(crate) fn make_proc(planned: &mut [Planned]) -> Result<Option<Root>, Failure> {
    let plain = |one: &&mut Planned| {
        matches!(&one.what, What::New { kind, .. } if kind == "proc")
            && one.destination == "/proc"
            && one.options.data.is_empty()
            && !one.options.add.contains(Attributes::READ_ONLY)
            && !one.options.add_below.contains(Attributes::READ_ONLY)
    };
    let Some(one) = planned.iter_mut().find(plain) else { return Ok(None) };
    let What::New { kind, source } = &one.what else { return Ok(None) };
    let mount = new(kind, source, &one.destination, &one.options)?;
    let top = mount.open_top().map_err(at_path("mount", &one.destination))?;
    one.what = What::Made(mount);
    Ok(Some(Root::from_fd(top, "/proc")))
}

/// Mounts them.
pub(crate) fn mount_all(root: &Root, planned: Vec<Planned>) -> Result<Mounted, Failure> {
    let mounted = planned.into_iter().map(|one| {
        let destination = PathBuf::from(&one.destination);
        let late = if one.options.late_read_only { Late::ReadOnly } else { Late::Nothing };
        mount_one(root, one).map(|mount| (destination, mount, late))
    });
    mounted.collect::<Result<_, _>>().map(Mounted)
}

/// Mounts one.
fn mount_one(root: &Root, planned: Planned) -> Result<Mount, Failure> {
    let Planned { destination, options, what } = planned;
    let mount = match what {
        What::Cgroups(cgroups) => return mount_cgroups(root, &destination, &options, cgroups),
        What::Bind(mount) => {
            bind(root, &destination, &options, &mount)?;
            return Ok(mount);
        }
        What::New { kind, source } => new(&kind, &source, &destination, &options)?,
        What::Made(mount) => mount,
        What::Overlay => {
            let why = "the overlay was to be made before the host's tree was left";
            return Err(Failure::new("mount", destination, why));
        }
    };
    place(root, &destination, &options, &mount)?;
    Ok(mount)
}

fn new(kind: &str, source: &str, destination: &str, options: &Options) -> Result<Mount, Failure> {
    let data: Vec<&str> = options.data.iter().map(String::as_str).collect();
    Mount::new(kind, source, &data, options.add).map_err(at_path("mount", destination))
}

fn place(root: &Root, destination: &str, options: &Options, mount: &Mount) -> Result<(), Failure> {
    let failed = at_path("mount", destination);
    // A tmpfs that is given no mode has that of what it covers.
    let covered = root.metadata(destination, Follow::Yes).ok().filter(|_| options.inherits_mode);
    let target = root.create_dirs(destination, 0o755).map_err(&failed)?;
    if options.kernels && root.metadata(destination, Follow::No).is_ok_and(|m| m.kind != Kind::Directory) {
        // What stands there leads to another place (CVE-2019-19921).
        let why = format!("filesystem at {destination:?} must be mounted on ordinary directory");
        return Err(Failure::new("mount", destination, why));
    }
    if let Some(covered) = covered {
        let top = Root::from_fd(mount.open_top().map_err(&failed)?, destination);
        top.top().set_mode(covered.mode & 0o7777).map_err(&failed)?;
    }
    if options.copy_up {
        copy_up::copy(&target, mount).map_err(&failed)?;
    }
    finish(mount, options).map_err(&failed)?;
    proc::check(root, destination, target.as_fd(), mount)?;
    mount.attach(target.as_fd()).map_err(&failed)
}

/// A file system that shows a namespace which the container's new user namespace has no rights over.
fn is_foreign(kind: &str, plan: &Plan) -> bool {
    plan.user.is_some()
        && match kind {
            "sysfs" => !plan.made.contains(Namespaces::NETWORK),
            "mqueue" => !plan.made.contains(Namespaces::IPC),
            _ => false,
        }
}

/// Whether files of a new instance get SELinux's mount label. The others show what is the kernel's, labelled by the
/// policy, and some of them are one instance for many mounts, which cannot have two labels.
fn takes_label(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | "cgroup" | "cgroup2" | "mqueue")
}

/// Files of the mount belong to whom its maps, or else the container's, say.
fn map_ids(
    copy: &Mount,
    mount: &runtime::Mount,
    options: &Options,
    owners: &Owners<'_>,
) -> Result<(), Failure> {
    let depth = options.map_ids.unwrap_or(Depth::One);
    let mapped = match () {
        () if !mount.uid_mappings.is_empty() => {
            idmap::map(copy, &mount.uid_mappings, &mount.gid_mappings, depth)
        }
        () if options.map_ids.is_some() => owners.map(copy, depth),
        () => Ok(()),
    };
    mapped.map_err(|failure| Failure { path: mount.destination.clone(), ..failure })
}

fn bind(root: &Root, destination: &str, options: &Options, mount: &Mount) -> Result<(), Failure> {
    let failed = at_path("mount", destination);
    // It was copied from a tree whose mounts may be shared with the host's: what is mounted on a private copy
    // stays in the container.
    if options.propagation.is_none() {
        mount.propagate(Propagation::Private, Depth::All).map_err(&failed)?;
    }
    if let Some(word) = options.data.first() {
        return Err(Failure::new("mount", destination, format!("unknown option of a bind mount: {word}")));
    }
    mount.set(options.add, options.remove, Depth::One).map_err(&failed)?;
    finish(mount, options).map_err(&failed)?;
    let is_directory = kind_of(mount).map_err(&failed)? == Kind::Directory;
    if is_directory {
        let target = root.create_dirs(destination, 0o755).map_err(&failed)?;
        proc::check(root, destination, target.as_fd(), mount)?;
        mount.attach(target.as_fd()).map_err(&failed)
    } else {
        let target = root.touch(destination, 0o755, 0o644).map_err(&failed)?;
        // The kernel says EINVAL, which says nothing.
        if Metadata::of(target.as_fd()).is_ok_and(|m| m.kind == Kind::Directory) {
            return Err(failed(sys::Error::new(
                "mount",
                "a file",
                std::io::Error::from_raw_os_error(ENOTDIR),
            )));
        }
        proc::check(root, destination, target.as_fd(), mount)?;
        mount.attach(target.as_fd()).map_err(&failed)
    }
}

const ENOTDIR: i32 = 20;

/// What any mount gets once it is made: the recursive attributes and the propagation.
fn finish(mount: &Mount, options: &Options) -> Result<(), sys::Error> {
    if !options.add_below.is_empty() || !options.remove_below.is_empty() {
        mount.set(options.add_below, options.remove_below, Depth::All)?;
    }
    match options.propagation {
        Some((propagation, depth)) => mount.propagate(propagation, depth),
        None => Ok(()),
    }
}

fn kind_of(mount: &Mount) -> Result<Kind, sys::Error> {
    Metadata::of(mount.as_fd()).map(|m| m.kind).map_err(|errno| sys::Error::new("stat", "", errno))
}

/// v1: a tmpfs with a directory for each hierarchy, in which the container's own cgroup is the top.
fn mount_cgroups(
    root: &Root,
    destination: &str,
    options: &Options,
    cgroups: Vec<(String, Vec<String>, Mount)>,
) -> Result<Mount, Failure> {
    let failed = at_path("mount", destination);
    let attributes = options.add.without(Attributes::READ_ONLY);
    let tmpfs = Mount::new("tmpfs", "tmpfs", &["mode=755"], attributes).map_err(&failed)?;
    let target = root.create_dirs(destination, 0o755).map_err(&failed)?;
    tmpfs.attach(target.as_fd()).map_err(&failed)?;
    let top = Root::from_fd(tmpfs.open_top().map_err(&failed)?, destination);
    let top = top.top();
    for (name, controllers, mount) in cgroups {
        mount.propagate(Propagation::Private, Depth::One).map_err(&failed)?;
        mount.set(options.add, options.remove, Depth::One).map_err(&failed)?;
        let directory = top.create_dir_or_open(&name, 0o755).map_err(&failed)?;
        mount.attach(directory.as_fd()).map_err(&failed)?;
        // Where several are mounted together, each is known by its own name too.
        for controller in controllers.iter().filter(|c| **c != name) {
            top.symlink(&name, controller).map_err(&failed)?;
        }
    }
    tmpfs.set(options.add, options.remove, Depth::One).map_err(&failed)?;
    Ok(tmpfs)
}
