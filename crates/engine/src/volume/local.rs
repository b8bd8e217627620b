//! The local driver: `<data root>/volumes/<name>/_data`, with what its options ask for mounted there while somebody uses
//! it. Blocking, but for the look-up of a server's name.

use std::collections::BTreeMap;
use std::path::Path;

use sys::mount::Flags;
use sys::root::Root;

use super::options;
use crate::Error;
use crate::error::errno_text;

/// Makes a volume's directory; for one that has to be mounted the place for that.
pub(super) fn make(data: &Path, options: &BTreeMap<String, String>) -> Result<(), Error> {
    if let Some(dir) = data.parent() {
        sys::file::create_dir_all(dir, 0o701)?;
    }
    sys::file::create_dir_all(data, 0o755)?;
    if let Some(size) = options::size(options)? {
        if !sys::quota::is_enforced(data) {
            return Err(store::Error::NoQuota(data.to_owned()).into());
        }
        sys::quota::limit(data, size)?;
    }
    own(data, options)
}

/// Gives a directory the owner and mode that the options ask for.
pub(crate) fn own(data: &Path, options: &BTreeMap<String, String>) -> Result<(), Error> {
    let owner = options::owner(options)?;
    if owner == options::Owner::default() || options::need_mount(options) {
        return Ok(());
    }
    let top = Root::open(data)?.top().own_metadata()?;
    let (parent, name) =
        Root::open(data.parent().unwrap_or(data))?.parent(data.file_name().unwrap_or_default())?;
    parent.chown(&name, owner.uid.unwrap_or(top.uid), owner.gid.unwrap_or(top.gid))?;
    Ok(parent.chmod(&name, owner.mode.unwrap_or(top.mode))?)
}

/// Removes what [`make`] made, with the content. Never reaches into a file system that is mounted there.
pub(super) fn remove(data: &Path, options: &BTreeMap<String, String>) -> Result<(), Error> {
    unmount(data)?;
    if options.contains_key("size") {
        sys::quota::release(data)?;
    }
    Ok(sys::file::remove_tree(data.parent().unwrap_or(data))?)
}

/// What is mounted below a volume's directory by others than us.
pub(super) fn foreign_mount(data: &Path) -> Result<Option<String>, Error> {
    Ok(sys::mount::mounted_below(data)?.into_iter().next())
}

/// A mount as mount(2) gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    kind: String,
    device: String,
    o: String,
}

impl Mount {
    /// With the server's address in place of its name.
    pub(super) async fn of(options: &BTreeMap<String, String>) -> Result<Self, Error> {
        let get = |key: &str| options.get(key).cloned().unwrap_or_default();
        let (kind, mut device, mut o) = (get("type"), get("device"), get("o"));
        if device.is_empty() {
            return Err(Error::Internal("missing device in volume options".into()));
        }
        if let Some(name) = options::server(&kind, &device, &o) {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let address = found.ok().and_then(|mut all| all.next()).ok_or_else(|| {
                Error::Internal(format!(
                    "error resolving passed in network volume address: lookup {name}: no such host"
                ))
            })?;
            (device, o) = options::with_address(&device, &o, &name, address.ip());
        }
        Ok(Self { kind, device, o })
    }

    /// Mounts it, unless it is mounted (a daemon that died had done so).
    pub(super) fn mount(&self, data: &Path) -> Result<(), Error> {
        if sys::mount::is_mounted_at(data)? {
            return Ok(());
        }
        let (flags, words) = options::mount_words(&self.o);
        sys::mount::mount_at(&self.device, data, &self.kind, flags, &words).map_err(|error| {
            let text = failure(&self.device, data, flags, &words, &error.source);
            Error::Internal(format!(
                "failed to mount local volume: {}",
                options::without_password(&text, &self.o)
            ))
        })
    }
}

/// Docker's words for a mount(2) that failed.
fn failure(device: &str, target: &Path, flags: Flags, data: &str, why: &std::io::Error) -> String {
    let mut text = format!("mount {device}:{}", target.display());
    let flags = flags.without_propagation();
    if flags != Flags::empty() {
        text.push_str(&format!(", flags: {:#x}", flags.bits()));
    }
    if !data.is_empty() {
        text.push_str(&format!(", data: {data}"));
    }
    format!("{text}: {}", errno_text(why))
}

/// Unmounts what is mounted on a volume's directory, if anything is: for those who still have it open at their end.
pub(super) fn unmount(data: &Path) -> Result<(), Error> {
    while sys::mount::is_mounted_at(data).unwrap_or(false) {
        sys::mount::unmount_at(data)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_as_docker_tells_them() {
        let why = std::io::Error::from_raw_os_error(22);
        let (flags, data) = options::mount_words("ro,rslave,addr=1.2.3.4,password=x");
        assert_eq!(
            failure(":/x", Path::new("/v/_data"), flags, &data, &why),
            "mount :/x:/v/_data, flags: 0x4001, data: addr=1.2.3.4,password=x: invalid argument"
        );
    }
}
