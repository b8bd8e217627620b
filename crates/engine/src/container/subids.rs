//! Subordinate ids: the ranges that `/etc/subuid` and `/etc/subgid` give to accounts, as Docker reads them.

use std::path::Path;

use spec::oci::runtime::IdMapping;
use sys::file::{self, Durability};

use super::userns::Ids;
use crate::Error;

/// How many ids a new range has.
pub(crate) const SIZE: u32 = 65_536;
/// Whose ranges `default` stands for.
const DEFAULT: &str = "dockremap";
/// Where the ranges begin that are given to it, as to Docker's.
const FIRST: u32 = 100_000;

const SUBUID: &str = "/etc/subuid";
const SUBGID: &str = "/etc/subgid";

/// The host's accounts and their ranges.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
    subuid: String,
    subgid: String,
}

/// Ids from `first` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: u32,
    pub(crate) count: u32,
}

impl Range {
    /// Whether an id is in both.
    pub(crate) fn overlaps(self, other: Self) -> bool {
        let end = |range: Self| u64::from(range.first) + u64::from(range.count);
        u64::from(self.first) < end(other) && u64::from(other.first) < end(self)
    }
}

impl Accounts {
    /// Reads them. A file that is not there gives nobody anything.
    pub(crate) fn read() -> Result<Self, Error> {
        let text = |path: &str| -> Result<String, Error> {
            let bytes = file::read_if_exists(Path::new(path))?.unwrap_or_default();
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        Ok(Self {
            passwd: text("/etc/passwd")?,
            group: text("/etc/group")?,
            subuid: text(SUBUID)?,
            subgid: text(SUBGID)?,
        })
    }

    /// What `--userns-remap` says: `default`, `user`, `user:group`, by name or number. `None`: root, which cannot be
    /// remapped to itself.
    pub(crate) fn remap(&self, text: &str) -> Result<Option<Ids>, Error> {
        let words: Vec<&str> = text.split(':').collect();
        let (user, group) = match words[..] {
            ["default"] => (DEFAULT, None),
            [user] => (user, None),
            [user, group] => (user, Some(group)),
            _ => {
                return Err(Error::Invalid(format!(
                    "Invalid user/group specification in --userns-remap: {text:?}"
                )));
            }
        };
        if matches!(user, "root" | "0") { Ok(None) } else { self.ids(user, group).map(Some) }
    }

    fn ids(&self, user: &str, group: Option<&str>) -> Result<Ids, Error> {
        let none = "no matching entries in passwd file";
        let by_number = is_number(user);
        let account = account(&self.passwd, user);
        if by_number && account.is_none() {
            return Err(Error::Invalid(format!("Uid {user} has no entry in /etc/passwd: {none}")));
        }
        let names = |account: &Option<(String, String)>, text: &str| match account {
            Some((name, number)) => vec![name.clone(), number.clone()],
            None => vec![text.to_owned()],
        };
        let user_names = names(&account, user);
        let uids = of(&self.subuid, &user_names);
        if uids.is_empty() && account.is_none() {
            return Err(Error::Invalid(format!("Error during uid lookup for {user:?}: {none}")));
        }
        let mut gids = Vec::new();
        if let Some(group) = group {
            let none = "no matching entries in group file";
            let found = self::account(&self.group, group);
            if found.is_none() {
                return Err(Error::Invalid(if is_number(group) {
                    format!("Gid {group} has no entry in /etc/passwd: {none}")
                } else {
                    format!("Error during groupname lookup for {group:?}: {none}")
                }));
            }
            gids = of(&self.subgid, &names(&found, group));
        }
        if gids.is_empty() {
            gids = of(&self.subgid, &user_names);
        }
        for (ranges, file, what) in [(&uids, SUBUID, "subuid"), (&gids, SUBGID, "subgid")] {
            if ranges.is_empty() {
                return Err(Error::Invalid(format!(
                    "Can't create ID mappings: no {what} ranges found for user {user:?}: give it one in {file}, such as {user}:100000:{SIZE}"
                )));
            }
            if ranges.iter().any(|range| range.first == 0) {
                return Err(Error::Invalid(format!("{file} gives {user:?} the host's own root (id 0)")));
            }
        }
        Ok(Ids { uids: mappings(&uids), gids: mappings(&gids) })
    }

    /// The ranges that one account has: of users, and of groups.
    pub(crate) fn ranges_of(&self, user: &str) -> (Vec<Range>, Vec<Range>) {
        let names = [user.to_owned()];
        (of(&self.subuid, &names), of(&self.subgid, &names))
    }

    /// Every range that somebody has.
    pub(crate) fn given(&self) -> Vec<Range> {
        let lines = self.subuid.lines().chain(self.subgid.lines());
        lines.filter_map(line).map(|(_, range)| range).collect()
    }

    /// Gives `dockremap` a range where it has none, as Docker does at the first start with `default`.
    pub(crate) fn give_default(&mut self) -> Result<(), Error> {
        let added = self.add_default();
        for (path, text, added) in [(SUBUID, &self.subuid, added.0), (SUBGID, &self.subgid, added.1)] {
            if added {
                file::write_atomic(Path::new(path), text.as_bytes(), 0o644, Durability::Machine)?;
            }
        }
        Ok(())
    }

    /// The first ids that nobody has; whether each of the files had no such line.
    fn add_default(&mut self) -> (bool, bool) {
        let end = |range: Range| range.first.saturating_add(range.count);
        let first = self.given().into_iter().map(end).fold(FIRST, u32::max);
        let add = |text: &mut String| {
            let missing = of(text, &[DEFAULT.to_owned()]).is_empty();
            if missing {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push('\n');
                }
                text.push_str(&format!("{DEFAULT}:{first}:{SIZE}\n"));
            }
            missing
        };
        (add(&mut self.subuid), add(&mut self.subgid))
    }
}

/// A line of `/etc/subuid`: `name:first:count`.
fn line(text: &str) -> Option<(&str, Range)> {
    let mut fields = text.trim().split(':');
    let (name, first, count) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, Range { first: first.parse().ok()?, count: count.parse().ok()? }))
}

fn of(file: &str, names: &[String]) -> Vec<Range> {
    let lines = file.lines().filter_map(line);
    lines.filter(|(name, range)| range.count > 0 && names.iter().any(|n| n == name)).map(|(_, r)| r).collect()
}

/// Name and number of the account that a name or a number means, in `/etc/passwd` or `/etc/group`: both have the name
/// first and the number third.
fn account(file: &str, wanted: &str) -> Option<(String, String)> {
    let accounts = file.lines().filter_map(|line| {
        let mut fields = line.split(':');
        Some((fields.next()?, fields.nth(1)?))
    });
    let place =
        |(name, number): &(&str, &str)| if is_number(wanted) { *number == wanted } else { *name == wanted };
    accounts.into_iter().find(place).map(|(name, number)| (name.to_owned(), number.to_owned()))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit())
}

/// One range after the other, from the container's id 0 on.
fn mappings(ranges: &[Range]) -> Vec<IdMapping> {
    let mut inside = 0_u32;
    let mut maps = Vec::new();
    for range in ranges {
        let size = range.count.min(u32::MAX - inside).min(u32::MAX - range.first);
        if size > 0 {
            maps.push(IdMapping { container_id: inside, host_id: range.first, size });
        }
        inside = inside.saturating_add(size);
    }
    maps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd:
                "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n"
                    .into(),
            group: "root:x:0:\nstaff:x:50:ann\n".into(),
            subuid: "# nobody's\nann:100000:65536\n1000:300000:10\ndockremap:165536:65536\nzero:0:9\n".into(),
            subgid: "ann:100000:65536\nstaff:200000:1000\ndockremap:165536:65536\nzero:0:9\n".into(),
        }
    }

    fn map(container_id: u32, host_id: u32, size: u32) -> IdMapping {
        IdMapping { container_id, host_id, size }
    }

    #[test]
    fn every_form_names_ranges() {
        let accounts = accounts();
        let both = vec![map(0, 100_000, 65_536), map(65_536, 300_000, 10)];
        for text in ["ann", "1000"] {
            let ids = accounts.remap(text).unwrap().unwrap();
            assert_eq!((ids.uids, ids.gids), (both.clone(), vec![map(0, 100_000, 65_536)]), "{text}");
        }
        for text in ["ann:staff", "1000:50"] {
            let ids = accounts.remap(text).unwrap().unwrap();
            assert_eq!((ids.uids, ids.gids), (both.clone(), vec![map(0, 200_000, 1000)]), "{text}");
        }
        for text in ["default", "dockremap"] {
            assert_eq!(accounts.remap(text).unwrap().unwrap().uids, [map(0, 165_536, 65_536)], "{text}");
        }
        for text in ["root", "0", "root:root"] {
            assert_eq!(accounts.remap(text).unwrap(), None, "{text}");
        }
    }

    #[test]
    fn what_names_none_is_refused_in_dockers_words() {
        for (text, why) in [
            ("nobody", "Error during uid lookup for \"nobody\": no matching entries in passwd file"),
            ("4711", "Uid 4711 has no entry in /etc/passwd: no matching entries in passwd file"),
            ("ann:x", "Error during groupname lookup for \"x\": no matching entries in group file"),
            ("ann:99", "Gid 99 has no entry in /etc/passwd: no matching entries in group file"),
            ("bob", "Can't create ID mappings: no subuid ranges found for user \"bob\""),
            ("a:b:c", "Invalid user/group specification in --userns-remap: \"a:b:c\""),
            ("zero", "the host's own root"),
        ] {
            let error = accounts().remap(text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn default_gets_what_is_free() {
        let mut accounts = Accounts { subuid: "ann:100000:65536".into(), ..Accounts::default() };
        assert_eq!(accounts.add_default(), (true, true));
        assert_eq!(accounts.subuid, "ann:100000:65536\ndockremap:165536:65536\n");
        assert_eq!(accounts.subgid, "dockremap:165536:65536\n");
        assert_eq!(accounts.add_default(), (false, false));
        assert_eq!(accounts.remap("default").unwrap().unwrap().gids, [map(0, 165_536, 65_536)]);
    }

    #[test]
    fn ranges_overlap_or_not() {
        let range = |first, count| Range { first, count };
        assert!(range(10, 5).overlaps(range(14, 1)) && range(14, 1).overlaps(range(10, 5)));
        assert!(!range(10, 5).overlaps(range(15, 1)) && !range(15, 1).overlaps(range(10, 5)));
        assert!(!range(u32::MAX, 1).overlaps(range(0, u32::MAX)));
    }
}
