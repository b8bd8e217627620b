//! Access control lists: the text of archives ⇄ what the kernel keeps (linux/posix_acl_xattr.h).

/// `POSIX_ACL_XATTR_VERSION`.
const VERSION: u32 = 2;
/// Of entries that are about no user or group in particular.
const NO_ID: u32 = u32::MAX;

/// Reads `user::rwx,user:1000:r-x,group::r-x,mask::rwx,other::---`, in lines or with commas. `None` for what is malformed,
/// and for users and groups that are said by name only.
pub(crate) fn from_text(text: &str) -> Option<Vec<u8>> {
    let mut entries: Vec<(u16, u16, u32)> = Vec::new();
    for entry in text.split([',', '\n']) {
        let entry = entry.split('#').next().unwrap_or_default().trim();
        if entry.is_empty() {
            continue;
        }
        let fields: Vec<&str> = entry.split(':').collect();
        let [kind, who, permissions, rest @ ..] = fields.as_slice() else { return None };
        // star writes the number behind the permissions.
        let id = || who.parse().ok().or_else(|| rest.first().and_then(|id| id.parse().ok()));
        let (tag, id) = match (*kind, who.is_empty()) {
            ("user" | "u", true) => (0x01, NO_ID),
            ("user" | "u", false) => (0x02, id()?),
            ("group" | "g", true) => (0x04, NO_ID),
            ("group" | "g", false) => (0x08, id()?),
            ("mask" | "m", true) => (0x10, NO_ID),
            ("other" | "o", true) => (0x20, NO_ID),
            _ => return None,
        };
        let mut bits = 0;
        for (at, c) in permissions.bytes().enumerate() {
            bits |= match (at, c) {
                (0, b'r') => 4,
                (1, b'w') => 2,
                (2, b'x') => 1,
                (0..=2, b'-') => 0,
                _ => return None,
            };
        }
        entries.push((tag, bits, id));
    }
    entries.sort_unstable_by_key(|(tag, _, id)| (*tag, *id));
    let mut acl = VERSION.to_le_bytes().to_vec();
    for (tag, bits, id) in &entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(bits.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    (!entries.is_empty()).then_some(acl)
}

/// The text of what the kernel keeps. `None` for what is malformed.
pub(crate) fn to_text(acl: &[u8]) -> Option<String> {
    let entries = acl.strip_prefix(&VERSION.to_le_bytes())?;
    let (entries, rest) = entries.as_chunks::<8>();
    if !rest.is_empty() {
        return None;
    }
    let mut words = Vec::new();
    for [tag, zero, bits, _, id @ ..] in entries {
        let (kind, id) = match (tag, zero) {
            (0x01, 0) => ("user", None),
            (0x02, 0) => ("user", Some(id)),
            (0x04, 0) => ("group", None),
            (0x08, 0) => ("group", Some(id)),
            (0x10, 0) => ("mask", None),
            (0x20, 0) => ("other", None),
            _ => return None,
        };
        let id = id.map(|id| u32::from_le_bytes(*id).to_string()).unwrap_or_default();
        let may = |bit, letter| if bits & bit == 0 { '-' } else { letter };
        words.push(format!("{kind}:{id}:{}{}{}", may(4, 'r'), may(2, 'w'), may(1, 'x')));
    }
    (!words.is_empty()).then(|| words.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_the_kernels_form() {
        let acl = from_text("user::rw-,user:1000:r-x,group::r--,mask::r-x,other::---").unwrap();
        let entry = |tag: u8, bits: u8, id: [u8; 4]| [&[tag, 0, bits, 0][..], &id].concat();
        let all = [0xff; 4];
        let expected = [
            vec![2, 0, 0, 0],
            entry(1, 6, all),
            entry(2, 5, [0xe8, 3, 0, 0]),
            entry(4, 4, all),
            entry(16, 5, all),
            entry(32, 0, all),
        ];
        assert_eq!(acl, expected.concat());
        let text = "user::rw-,user:1000:r-x,group::r--,mask::r-x,other::---";
        assert_eq!(to_text(&acl).as_deref(), Some(text));
        for bad in [&[][..], &acl[..4], &acl[..10], &[2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(to_text(bad), None, "{bad:?}");
        }
        assert_eq!(
            from_text("other::---\nmask::r-x\ngroup::r--\nuser:joe:r-x:1000\nuser::rw- #effective:r--\n"),
            Some(acl)
        );
        for bad in ["", "user:joe:rwx", "user::rwz", "nobody::rwx", "user", "mask:1:r--"] {
            assert_eq!(from_text(bad), None, "{bad}");
        }
    }
}
