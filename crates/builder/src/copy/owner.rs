//! `--chown=user[:group]`, with names looked up in the stage's own /etc/passwd and /etc/group.

use sys::root::Root;

use crate::error::{Error, Result};

/// Larger files of accounts are not read.
const LIMIT: u64 = 4 << 20;

/// Finds the numbers. Without a group it is the one with the user's number.
pub(crate) fn resolve(root: &Root, text: &str) -> Result<(u32, u32)> {
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    let uid = lookup(root, user, "etc/passwd", "user", text)?;
    let gid = if group.is_empty() { uid } else { lookup(root, group, "etc/group", "group", text)? };
    Ok((uid, gid))
}

fn lookup(root: &Root, name: &str, file: &str, what: &str, text: &str) -> Result<u32> {
    let failed = |detail: String| Error::Step {
        step: format!("unable to convert uid/gid chown string {text:?} to host mapping"),
        detail,
    };
    if !name.is_empty() && name.bytes().all(|c| c.is_ascii_digit()) {
        return name.parse().map_err(|_| failed(format!("{what} id {name} is out of range")));
    }
    let not_found =
        || failed(format!("can't find {} for {what} {name}", if what == "user" { "uid" } else { "gid" }));
    let bytes = match root.read(file, LIMIT) {
        Ok(bytes) => bytes,
        Err(e) if e.errno() == 2 => return Err(not_found()),
        Err(e) => return Err(e.into()),
    };
    // Both files have the name first and the number third.
    for line in String::from_utf8_lossy(&bytes).lines() {
        let mut fields = line.split(':');
        if fields.next() == Some(name)
            && let Some(Ok(id)) = fields.nth(1).map(str::parse)
        {
            return Ok(id);
        }
    }
    Err(not_found())
}
