//! Whose files are, where a tree is seen with ids that an archive does not know: that of a container in a user namespace.

use spec::oci::runtime::IdMapping;

/// What a file belongs to whose owner has no id (user_namespaces(7)).
const NOBODY: u32 = 65_534;

/// The ids of users and groups inside and outside. Without any, both are the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owners<'m> {
    /// Of users.
    pub uids: &'m [IdMapping],
    /// Of groups.
    pub gids: &'m [IdMapping],
}

impl Owners<'_> {
    /// Whose a file is in an archive.
    pub fn inside(self, uid: u32, gid: u32) -> (u32, u32) {
        let find = |maps: &[IdMapping], id: u32| {
            let map = maps.iter().find_map(|map| Some(map.container_id + within(id, map.host_id, map.size)?));
            if maps.is_empty() { id } else { map.unwrap_or(NOBODY) }
        };
        (find(self.uids, uid), find(self.gids, gid))
    }

    /// Whose an entry of an archive becomes; `None` when that is nobody.
    pub(crate) fn outside(self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let find = |maps: &[IdMapping], id: u32| {
            let map = maps.iter().find_map(|map| Some(map.host_id + within(id, map.container_id, map.size)?));
            if maps.is_empty() { Some(id) } else { map }
        };
        find(self.uids, uid).zip(find(self.gids, gid))
    }
}

fn within(id: u32, first: u32, size: u32) -> Option<u32> {
    id.checked_sub(first).filter(|above| *above < size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_both_ways() {
        let maps = [
            IdMapping { container_id: 0, host_id: 1000, size: 10 },
            IdMapping { container_id: 10, host_id: 5000, size: 1 },
        ];
        let owners = Owners { uids: &maps, gids: &maps };
        for ids in [(0, 10), (9, 3), (10, 0)] {
            let outside = owners.outside(ids.0, ids.1).unwrap();
            assert_eq!(owners.inside(outside.0, outside.1), ids);
        }
        assert_eq!(owners.outside(0, 10), Some((1000, 5000)));
        assert_eq!((owners.outside(11, 0), owners.inside(0, 1000)), (None, (NOBODY, 0)));
        assert_eq!(Owners::default().inside(7, 8), (7, 8));
        assert_eq!(Owners::default().outside(7, 8), Some((7, 8)));
    }
}
