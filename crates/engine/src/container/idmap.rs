//! `idmap`: files that the container's user makes on a bind mount or volume belong to the owner of its source, and the
//! owner's files to the container's user. Beyond Docker.
//!
//! The mount maps ids, nothing on disk is changed. The host's root is not mapped for a container that runs as root:
//! such a container cannot make files of the host's root there, nor change them.

use std::path::Path;

use spec::oci::runtime::{IdMapping, Spec};
use sys::root::{Follow, Root};

use super::record::Record;
use crate::Error;

/// The largest id; the one above means none.
const LAST: u32 = u32::MAX - 1;

/// Gives the mounts that ask for it their maps. Blocking.
pub(crate) fn apply(record: &Record, spec: &mut Spec) -> Result<(), Error> {
    let (mut uid, mut gid) = user(&record.config.user);
    if let Some(ids) = &record.ids {
        (uid, gid) = ids.outside(uid, gid).ok_or_else(|| {
            Error::Invalid(format!("idmap: user {uid} and group {gid} are not in the container's ids"))
        })?;
    }
    for point in record.mounts.iter().filter(|m| m.match_user) {
        let source = Root::open(Path::new("/"))?.metadata(&point.source, Follow::Yes)?;
        for mount in spec.mounts.iter_mut().filter(|m| m.destination == point.destination) {
            mount.uid_mappings = exchange(source.uid, uid);
            mount.gid_mappings = exchange(source.gid, gid);
        }
    }
    Ok(())
}

/// The numbers of `--user`; root's for a name, which only the container's own files could tell.
fn user(text: &str) -> (u32, u32) {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    (user.parse().unwrap_or(0), group.parse().unwrap_or(0))
}

/// On disk `owner`, in the container `user`; all others as they are, but those two, which are nobody's otherwise.
fn exchange(owner: u32, user: u32) -> Vec<IdMapping> {
    let (low, high) = (owner.min(user), owner.max(user));
    let mut maps = vec![IdMapping { container_id: owner, host_id: user, size: 1 }];
    let between = [(0, low), (low + 1, high), (high.saturating_add(1), LAST)];
    for (first, end) in between.into_iter().filter(|(first, end)| first < end) {
        maps.push(IdMapping { container_id: first, host_id: first, size: end - first });
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_exchanged_and_the_others_stay() {
        let on_disk = |maps: &[IdMapping], id: u32| {
            let found = maps.iter().find(|m| (m.host_id..m.host_id + m.size).contains(&id));
            found.map(|m| m.container_id + (id - m.host_id))
        };
        let maps = exchange(1000, 0);
        for (inside, disk) in
            [(0, Some(1000)), (1, Some(1)), (999, Some(999)), (1000, None), (1001, Some(1001))]
        {
            assert_eq!(on_disk(&maps, inside), disk);
        }
        assert!(maps.iter().all(|m| m.container_id != 0), "the host's root is not mapped");
        let maps = exchange(0, 0);
        assert_eq!((on_disk(&maps, 0), on_disk(&maps, 7)), (Some(0), Some(7)));
        assert_eq!(on_disk(&exchange(1000, 33), 33), Some(1000));
        assert_eq!((user("5:6"), user("www"), user("")), ((5, 6), (0, 0), (0, 0)));
    }
}
