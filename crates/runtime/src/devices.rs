//! Device nodes and links in the container's /dev.

use std::path::Path;

use spec::oci::runtime::Device;
use sys::root::{Dir, Kind, Root};

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

/// Makes the standard ones and those of the configuration.
pub(crate) fn make_all(root: &Root, devices: &[Device]) -> Result<(), Failure> {
    let failed = at_path("device", "/dev");
    let dev = root.create_dirs("/dev", 0o755).map_err(&failed)?;
    for (name, major, minor) in STANDARD {
        make(&dev, name, Kind::CharDevice, 0o666, (major, minor), (0, 0))?;
    }
    for (name, target) in LINKS {
        match dev.symlink(target, name) {
            // The image, or a mount, has its own.
            Err(error) if error.errno() == EEXIST => {}
            done => done.map_err(&failed)?,
        }
    }
    for device in devices {
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
