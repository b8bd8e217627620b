//! Whom files belong to that are put in with `-a`: the container's user, looked up in its own files.

use sys::root::Root;

use crate::Error;

/// Larger files of accounts are not read.
const LIMIT: u64 = 10 << 20;

/// The numbers of `user[:group]`. A number is a number. Without a group it is the user's own, or 0 for a user without an
/// account.
pub(super) fn resolve(root: &Root, text: &str) -> Result<(u32, u32), Error> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let passwd = accounts(root, "/etc/passwd")?;
    let (uid, own_group) = match number(user)? {
        Some(uid) => (uid, passwd.iter().find(|a| a.id == uid).and_then(|a| a.group)),
        None => {
            let account = passwd.iter().find(|a| a.name == user);
            let account = account.ok_or_else(|| {
                Error::Invalid(format!("unable to find user {user}: no matching entries in passwd file"))
            })?;
            (account.id, account.group)
        }
    };
    if group.is_empty() {
        return Ok((uid, own_group.unwrap_or(0)));
    }
    if let Some(gid) = number(group)? {
        return Ok((uid, gid));
    }
    let groups = accounts(root, "/etc/group")?;
    let found = groups.iter().find(|g| g.name == group);
    let found = found.ok_or_else(|| {
        Error::Invalid(format!("unable to find group {group}: no matching entries in group file"))
    })?;
    Ok((uid, found.id))
}

/// A line of `/etc/passwd` or `/etc/group`: both have the name first and the number third.
struct Account {
    name: String,
    id: u32,
    group: Option<u32>,
}

fn accounts(root: &Root, path: &str) -> Result<Vec<Account>, Error> {
    let bytes = match root.read(path, LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if e.source.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e.into()),
    };
    let account = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let id = fields.get(2)?.parse().ok()?;
        let group = fields.get(3).and_then(|gid| gid.parse().ok());
        Some(Account { name: fields[0].to_owned(), id, group })
    };
    Ok(String::from_utf8_lossy(&bytes).lines().filter_map(account).collect())
}

/// `None` for a name. Digits over 32 bits are an error, never a name.
fn number(text: &str) -> Result<Option<u32>, Error> {
    if text.is_empty() || !text.bytes().all(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| Error::Invalid(format!("id {text} is out of range")))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sys::root::Access;

    use super::*;

    #[test]
    fn users_are_looked_up_inside() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        drop(root.create_dirs("etc", 0o755).unwrap());
        for (path, text) in [("etc/passwd", "www:x:33:34::/:/bin/sh\n"), ("etc/group", "staff:x:50:\n")] {
            root.open_file(path, Access::CreateNew, 0o644).unwrap().write_all(text.as_bytes()).unwrap();
        }
        for (text, ids) in [
            ("www", (33, 34)),
            ("33", (33, 34)),
            ("7", (7, 0)),
            ("7:", (7, 0)),
            ("www:staff", (33, 50)),
            ("7:8", (7, 8)),
        ] {
            assert_eq!(resolve(&root, text).unwrap(), ids, "{text}");
        }
        for bad in ["nobody", "www:nobody", "4294967296"] {
            assert!(resolve(&root, bad).is_err(), "{bad}");
        }
    }
}
