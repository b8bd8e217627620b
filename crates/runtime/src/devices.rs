//! Device nodes and links in the container's /dev.

use std::os::fd::AsFd;
use std::path::Path;

use spec::oci::runtime::Device;
use sys::mount::{Depth, Mount, Propagation};
use sys::root::{Dir, Kind, Metadata, Root};

use crate::Failure;
use crate::failure::at_path;

/// Every container has these (runtime-spec, "Default Devices").
const STANDARD: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
    ("core", "/proc/kcore"),
];

const EEXIST: i32 = 17;

/// Opens the host's nodes of the standard devices and those of the configuration: in a user namespace no node can be
/// made.
pub(crate) fn open_all(devices: &[Device]) -> Result<Vec<(String, Mount)>, Failure> {
    let standard =
        STANDARD.map(|(name, major, minor)| (format!("/dev/{name}"), Some((Kind::CharDevice, major, minor))));
    let number = |n: i64| u32::try_from(n).unwrap_or(u32::MAX);
    let more = devices.iter().filter(|device| {
        device.path != "/dev/ptmx" && !standard.iter().any(|(path, _)| *path == device.path)
    });
    let more = more.map(|device| {
        let kind = if device.r#type == "b" { Kind::BlockDevice } else { Kind::CharDevice };
        let node = (device.r#type != "p").then(|| (kind, number(device.major), number(device.minor)));
        (device.path.clone(), node)
    });
    let mut opened = Vec::new();
    for (path, node) in standard.iter().cloned().chain(more) {
        let copy = match (open_node(&path, node), node) {
            // It may have another name in the container.
            (Err(failure), Some(device)) => match host_name(device) {
                Some(name) => open_node(&name, node)?,
                None => return Err(failure),
            },
            (copy, _) => copy?,
        };
        opened.push((path, copy));
    }
    Ok(opened)
}

fn open_node(path: &str, node: Option<(Kind, u32, u32)>) -> Result<Mount, Failure> {
    let copy = Mount::copy(Path::new(path), Depth::One).map_err(at_path("device", path))?;
    let found =
        Metadata::of(copy.as_fd()).map_err(|e| at_path("device", path)(sys::Error::new("stat", path, e)))?;
    if node.is_some_and(|node| node != (found.kind, found.major, found.minor)) {
        return Err(Failure::new("device", path, "is another device on the host"));
    }
    Ok(copy)
}

/// What the host's kernel calls a device.
fn host_name((kind, major, minor): (Kind, u32, u32)) -> Option<String> {
    let kind = if kind == Kind::BlockDevice { "block" } else { "char" };
    let path = format!("/sys/dev/{kind}/{major}:{minor}/uevent");
    let text = sys::file::read_if_exists(Path::new(&path)).ok()??;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix("DEVNAME=")).map(|name| format!("/dev/{name}"))
}

/// Makes the standard ones and those of the configuration, or puts the host's there that `opened` has.
pub(crate) fn make_all(root: &Root, devices: &[Device], opened: Vec<(String, Mount)>) -> Result<(), Failure> {
    let failed = at_path("device", "/dev");
    let dev = root.create_dirs("/dev", 0o755).map_err(&failed)?;
    let bound = !opened.is_empty();
    for (path, mount) in opened {
        let failed = at_path("device", &path);
        mount.propagate(Propagation::Private, Depth::One).map_err(&failed)?;
        let target = root.touch(&path, 0o755, 0o666).map_err(&failed)?;
        mount.attach(target.as_fd()).map_err(&failed)?;
    }
    let configured = |name: &str| devices.iter().any(|d| d.path.strip_prefix("/dev/") == Some(name));
    for (name, major, minor) in STANDARD.into_iter().filter(|(name, ..)| !bound && !configured(name)) {
        make(&dev, name, Kind::CharDevice, 0o666, (major, minor), (0, 0))?;
    }
    for (name, target) in LINKS {
        match dev.symlink(target, name) {
            // The image, or a mount, has its own.
            Err(error) if error.errno() == EEXIST => {}
            done => done.map_err(&failed)?,
        }
    }
    // /dev/ptmx is the container's own devpts's, whatever the host has.
    for device in devices.iter().filter(|device| !bound && device.path != "/dev/ptmx") {
        let failed = at_path("device", &device.path);
        let kind = match device.r#type.as_str() {
            "c" | "u" => Kind::CharDevice,
            "b" => Kind::BlockDevice,
            "p" => Kind::Fifo,
            other => {
                return Err(Failure::new("device", &device.path, format!("unknown type {other:?}")));
            }
        };
        let number = |value: i64| {
            u32::try_from(value).map_err(|_| Failure::new("device", &device.path, "number out of range"))
        };
        let numbers =
            if kind == Kind::Fifo { (0, 0) } else { (number(device.major)?, number(device.minor)?) };
        let owner = (device.uid.unwrap_or(0), device.gid.unwrap_or(0));
        let (parent, name) = root.create_parent(Path::new(&device.path), 0o755).map_err(&failed)?;
        let name = name.to_string_lossy();
        make(&parent, &name, kind, device.file_mode.unwrap_or(0o666), numbers, owner)?;
    }
    Ok(())
}

fn make(
    dir: &Dir,
    name: &str,
    kind: Kind,
    mode: u32,
    (major, minor): (u32, u32),
    (uid, gid): (u32, u32),
) -> Result<(), Failure> {
    let path = dir.label().join(name).display().to_string();
    let failed = at_path("device", &path);
    match dir.make_node(name, kind, mode & 0o7777, major, minor) {
        // One that is the same (a mount of the host's /dev) is as good; another one would deceive.
        Err(error) if error.errno() == EEXIST => {
            let found = dir.metadata(name).map_err(&failed)?;
            let same =
                found.kind == kind && (kind == Kind::Fifo || (found.major, found.minor) == (major, minor));
            if same { Ok(()) } else { Err(Failure::new("device", &path, "something else is there already")) }
        }
        done => {
            done.map_err(&failed)?;
            if (uid, gid) != (0, 0) {
                dir.chown(name, uid, gid).map_err(&failed)?;
            }
            Ok(())
        }
    }
}
