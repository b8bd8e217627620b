//! A configuration of ours becomes a bundle that any runtime can use: overlays, parts of a source, owners by mapping
//! and names of users are made what they stand for.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use spec::oci::runtime::{Linux, Mount, Namespace, NamespaceKind, Spec};
use sys::mount::{self, Propagation};
use sys::root::{Kind, Metadata, Root};

use super::{Request, numbers, text, write};
use crate::failure::at;
use crate::idmap::Owners;
use crate::{Failure, FirstProcess, mounts, root};

/// Later ones only add members, and crun refuses what it does not know.
const VERSION: &str = "1.0.2";

/// Where Docker's users find the init of `--init`.
const INIT: &str = "/sbin/docker-init";

/// Fills the directory. The calling process is in a mount namespace of its own.
pub(super) fn make(request: &Request<'_>) -> Result<(), Failure> {
    let directory = &request.directory;
    let rootfs = directory.join("rootfs");
    sys::file::create_dir_all(&rootfs, 0o700).map_err(at("runtime"))?;
    let mut spec = request.spec.clone();
    VERSION.clone_into(&mut spec.oci_version);
    let linux = request.spec.linux.clone();
    let owners = Owners::of_namespace(&linux, joined_user(&linux)?);
    // What propagates does so from where it is now; nothing that is mounted from here on may reach the host.
    let opened = spec.mounts.iter().map(|mount| mounts::open_beyond(mount, &owners));
    let opened = opened.collect::<Result<Vec<_>, _>>()?;
    mount::propagate_all(Propagation::Private).map_err(at("mount"))?;
    let top = root::open(&spec, &owners)?;
    attach(&top, &rootfs)?;
    for (number, (mount, opened)) in spec.mounts.iter_mut().zip(opened).enumerate() {
        let opened = opened.map_or_else(|| mounts::make_beyond(mount, &owners), |opened| Ok(Some(opened)))?;
        let Some(opened) = opened else { continue };
        let place = directory.join("mounts").join(number.to_string());
        attach(&opened, &place)?;
        *mount = mounts::plain(mount, text(&place)?);
    }
    if let Some(root) = &mut spec.root {
        root.overlay = None;
        root.path = text(&rootfs)?.to_owned();
    }
    if let Some(netns) = request.netns {
        // Ours, by a path that the runtime can open.
        let path = format!("/proc/{}/fd/{}", std::process::id(), netns.as_raw_fd());
        spec.linux.namespaces.retain(|namespace| namespace.r#type != NamespaceKind::Network);
        spec.linux.namespaces.push(Namespace { r#type: NamespaceKind::Network, path });
    }
    let tree = Root::from_fd(top.open_top().map_err(at("mount"))?, "/");
    if let Some(process) = &mut spec.process {
        process.user = numbers(&tree, process)?;
    }
    if request.first == FirstProcess::Reaper {
        put_init(&mut spec, text(&request.runtime.init)?);
    }
    write(&directory.join("config.json"), &spec)
}

/// The user namespace that the container joins, if there is one already.
fn joined_user(linux: &Linux) -> Result<Option<OwnedFd>, Failure> {
    let user = linux.namespaces.iter().find(|n| n.r#type == NamespaceKind::User && !n.path.is_empty());
    user.map(|user| sys::file::open(Path::new(&user.path)).map(OwnedFd::from).map_err(at("namespace")))
        .transpose()
}

/// At a place that is made as what is to be seen there.
fn attach(mount: &mount::Mount, place: &Path) -> Result<(), Failure> {
    let failed = at("mount");
    let kind = Metadata::of(mount.as_fd()).map_err(|errno| failed(sys::Error::new("stat", "", errno)))?.kind;
    if kind == Kind::Directory {
        sys::file::create_dir_all(place, 0o700).map_err(&failed)?;
    } else {
        sys::file::create_dir_all(place.parent().unwrap_or(place), 0o700).map_err(&failed)?;
        sys::file::create(place, 0o600).map_err(&failed)?;
    }
    let target = mount::Mount::open(place).map_err(&failed)?;
    mount.attach(target.as_fd()).map_err(&failed)
}

/// The program becomes the child of an init, which the image need not have.
fn put_init(spec: &mut Spec, init: &str) {
    let options = ["bind", "ro", "rprivate"].map(str::to_owned).to_vec();
    let (destination, source) = (INIT.to_owned(), init.to_owned());
    spec.mounts.push(Mount { destination, source, r#type: "bind".into(), options, ..Mount::default() });
    if let Some(process) = &mut spec.process {
        let words = [INIT.to_owned(), "--".to_owned()];
        process.args = words.into_iter().chain(process.args.drain(..)).collect();
    }
}
