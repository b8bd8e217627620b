//! Devices of the host that a container is given, and the numbers of those that limits name.

use std::path::Path;

use spec::api::{HostConfig, Resources, ThrottleDevice, WeightDevice};
use spec::oci::runtime::{BlockIo, Device, Throttle, Weight};
use sys::root::{Dir, Follow, Kind, Metadata, Root};

use super::oci::device_target;
use crate::{Error, error};

/// Not given to privileged containers: each container has its own.
const OWN: [&str; 8] = ["pts", "shm", "fd", "mqueue", "console", "ptmx", "stdin", "core"];
/// Levels below /dev that are looked at.
const DEPTH: usize = 4;

/// What `--device` and `--privileged` ask for.
pub(crate) fn wanted(host: &HostConfig) -> Result<Vec<Device>, Error> {
    let mut devices = Vec::new();
    if host.privileged {
        below(Root::open(Path::new("/dev"))?.top(), "/dev", 0, &mut devices);
    }
    for mapping in &host.resources.devices {
        let source = mapping.path_on_host.as_str();
        if host.privileged && source == device_target(mapping) {
            continue;
        }
        let before = devices.len();
        let gather = |error: sys::Error| {
            Error::Invalid(format!(
                "error gathering device information while adding custom device {source:?}: {}",
                error::step_text("", "", error.errno(), &error::chain(&error)).0.trim_start_matches(": ")
            ))
        };
        let root = Root::open(Path::new("/"))?;
        let metadata = root.metadata(source, Follow::Yes).map_err(gather)?;
        let target = device_target(mapping);
        match metadata.kind {
            Kind::Directory => below(&root.dir(source).map_err(gather)?, target, 0, &mut devices),
            Kind::CharDevice | Kind::BlockDevice => devices.push(device(target, &metadata)),
            Kind::File | Kind::Symlink | Kind::Fifo | Kind::Socket => {}
        }
        if devices.len() == before {
            return Err(Error::Invalid(format!(
                "error gathering device information while adding custom device {source:?}: not a device node"
            )));
        }
    }
    Ok(devices)
}

fn below(dir: &Dir, path: &str, depth: usize, devices: &mut Vec<Device>) {
    for entry in dir.entries().unwrap_or_default() {
        let name = entry.name.to_string_lossy();
        if OWN.contains(&&*name) {
            continue;
        }
        let Ok(metadata) = dir.metadata(&entry.name) else { continue };
        let path = format!("{path}/{name}");
        match metadata.kind {
            Kind::CharDevice | Kind::BlockDevice => devices.push(device(&path, &metadata)),
            Kind::Directory if depth < DEPTH => {
                if let Ok(dir) = dir.dir(&entry.name) {
                    below(&dir, &path, depth + 1, devices);
                }
            }
            Kind::Directory | Kind::File | Kind::Symlink | Kind::Fifo | Kind::Socket => {}
        }
    }
}

fn device(path: &str, metadata: &Metadata) -> Device {
    Device {
        path: path.into(),
        r#type: if metadata.kind == Kind::BlockDevice { "b".into() } else { "c".into() },
        major: metadata.major.into(),
        minor: metadata.minor.into(),
        file_mode: Some(metadata.mode),
        uid: Some(metadata.uid),
        gid: Some(metadata.gid),
    }
}

/// `--device-read-bps` and its kin, with the devices' numbers.
pub(crate) fn throttles(limits: &Resources) -> Result<BlockIo, Error> {
    Ok(BlockIo {
        weight_device: weights(&limits.blkio_weight_device)?,
        throttle_read_bps_device: rates(&limits.blkio_device_read_bps)?,
        throttle_write_bps_device: rates(&limits.blkio_device_write_bps)?,
        throttle_read_iops_device: rates(&limits.blkio_device_read_iops)?,
        throttle_write_iops_device: rates(&limits.blkio_device_write_iops)?,
        ..BlockIo::default()
    })
}

fn rates(devices: &[ThrottleDevice]) -> Result<Vec<Throttle>, Error> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let root = Root::open(Path::new("/"))?;
    devices
        .iter()
        .map(|limit| {
            let metadata = root.metadata(&limit.path, Follow::Yes)?;
            let rate = u64::try_from(limit.rate).map_err(|_| {
                Error::Invalid(format!("invalid rate for device {}: {}", limit.path, limit.rate))
            })?;
            Ok(Throttle { major: metadata.major.into(), minor: metadata.minor.into(), rate })
        })
        .collect()
}

fn weights(devices: &[WeightDevice]) -> Result<Vec<Weight>, Error> {
    let root = Root::open(Path::new("/"))?;
    devices
        .iter()
        .map(|device| {
            let metadata = root.metadata(&device.path, Follow::Yes)?;
            let weight = u16::try_from(device.weight).ok();
            Ok(Weight {
                major: metadata.major.into(),
                minor: metadata.minor.into(),
                weight,
                leaf_weight: None,
            })
        })
        .collect()
}

/// Per processor, `/sys/devices/system/cpu/cpuN/thermal_throttle` counts events that tell what other tenants do.
pub(crate) fn thermal_throttle_paths() -> Vec<String> {
    let path = |cpu: usize| format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle");
    (0..crate::system::processors()).map(path).filter(|p| Path::new(p).exists()).collect()
}
