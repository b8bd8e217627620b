//! A user's and groups' names become numbers, by the container's own passwd(5) and group(5).

use spec::oci::runtime::User;
use sys::root::Root;

use crate::Failure;
use crate::failure::at_path;

/// Larger ones are an attack on our memory (CVE-2026-47262).
const LONGEST: u64 = 10 << 20;
/// Docker's bound: what is larger wrapped around to root once (CVE-2024-40635).
const HIGHEST: u32 = (1 << 31) - 1;

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// Who a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) home: String,
}

/// Looks `user` up in the tree of `root`.
pub(crate) fn resolve(root: &Root, user: &User) -> Result<Identity, Failure> {
    let passwd = read(root, "/etc/passwd")?;
    let group = if user.username.is_empty() && user.additional_groups.is_empty() {
        String::new()
    } else {
        read(root, "/etc/group")?
    };
    identify(user, &passwd, &group).map_err(|detail| Failure::new("user", &user.username, detail))
}

fn read(root: &Root, path: &str) -> Result<String, Failure> {
    match root.read(path, LONGEST) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if matches!(error.errno(), ENOENT | ENOTDIR) => Ok(String::new()),
        Err(error) => Err(at_path("user", path)(error)),
    }
}

fn identify(user: &User, passwd: &str, group: &str) -> Result<Identity, String> {
    let mut identity =
        Identity { uid: user.uid, gid: user.gid, groups: user.additional_gids.clone(), home: String::new() };
    let entry;
    if user.username.is_empty() {
        entry = accounts(passwd).find(|account| account.uid == user.uid);
    } else {
        let (name, group_name) = match user.username.split_once(':') {
            Some((name, group_name)) => (name, group_name),
            None => (user.username.as_str(), ""),
        };
        // Without a name before the colon it is root, as with Docker.
        match number(if name.is_empty() { "0" } else { name })? {
            Some(uid) => {
                entry = accounts(passwd).find(|account| account.uid == uid);
                identity.uid = uid;
            }
            None => {
                let account = accounts(passwd).find(|account| account.name == name).ok_or_else(|| {
                    format!("unable to find user {name}: no matching entries in passwd file")
                })?;
                identity.uid = account.uid;
                entry = Some(account);
            }
        }
        identity.gid = entry.as_ref().map_or(0, |account| account.gid);
        if group_name.is_empty() {
            if let Some(account) = &entry {
                identity.groups.extend(memberships(group, account.name));
            }
        } else {
            identity.gid = find_group(group, group_name)?;
        }
    }
    if !user.username.is_empty() {
        // Without it, leaving that group would be a way around what the group may not do (CVE-2022-36109).
        identity.groups.push(identity.gid);
    }
    for name in &user.additional_groups {
        identity.groups.push(find_group(group, name)?);
    }
    identity.groups.sort_unstable();
    identity.groups.dedup();
    identity.home = entry.map_or("", |account| account.home).to_owned();
    if identity.home.is_empty() {
        identity.home.push('/');
    }
    Ok(identity)
}

/// What is written as a number is a number, also when an account has it as its name (CVE-2026-46680).
fn number(text: &str) -> Result<Option<u32>, String> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= HIGHEST => Ok(Some(id)),
        _ => Err(format!("uids and gids must be in range 0-{HIGHEST}")),
    }
}

fn find_group(group: &str, name: &str) -> Result<u32, String> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    groups(group)
        .find(|entry| entry.name == name)
        .map(|entry| entry.gid)
        .ok_or_else(|| format!("unable to find group {name}: no matching entries in group file"))
}

fn memberships<'a>(group: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    groups(group).filter(move |entry| entry.members.split(',').any(|m| m == user)).map(|entry| entry.gid)
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// Lines that are no entries are passed over.
fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
    })
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some(Group { name, gid, members: fields.next().unwrap_or_default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# no entry\nbroken:x:y\n\
                          bob:x:1000:1001:Bob:/home/bob:/bin/sh\n1000:x:7:7::/:\nlow:x:5:5::\n";
    const GROUP: &str = "root:x:0:root\nwheel:x:10:root,bob\nstaff:x:50:bob\nbob:x:1001:\n";

    fn named(username: &str) -> Result<Identity, String> {
        identify(&User { username: username.into(), ..User::default() }, PASSWD, GROUP)
    }

    #[test]
    fn names_and_numbers() {
        let bob = Identity { uid: 1000, gid: 1001, groups: vec![10, 50, 1001], home: "/home/bob".into() };
        assert_eq!(named("bob"), Ok(bob.clone()));
        assert_eq!(named("1000"), Ok(bob.clone()), "a number is not a name");
        assert_eq!(named("bob:staff"), Ok(Identity { gid: 50, groups: vec![50], ..bob.clone() }));
        assert_eq!(named("bob:77"), Ok(Identity { gid: 77, groups: vec![77], ..bob }));
        let stranger = Identity { uid: 4242, gid: 0, groups: vec![0], home: "/".into() };
        assert_eq!(named("4242"), Ok(stranger));
        assert_eq!(named("low").unwrap().home, "/");
    }

    #[test]
    fn what_is_not_there_is_said_as_docker_says_it() {
        assert_eq!(named("eve").unwrap_err(), "unable to find user eve: no matching entries in passwd file");
        assert_eq!(named("bob:x").unwrap_err(), "unable to find group x: no matching entries in group file");
        for bad in ["4294967296", "2147483648", "-1", "0:4294967295"] {
            assert_eq!(named(bad).unwrap_err(), "uids and gids must be in range 0-2147483647", "{bad}");
        }
    }

    #[test]
    fn added_groups_join_the_others() {
        let user = User { username: "bob".into(), additional_gids: vec![3], ..User::default() };
        let user = User { additional_groups: vec!["bob".into(), "9".into()], ..user };
        assert_eq!(identify(&user, PASSWD, GROUP).unwrap().groups, [3, 9, 10, 50, 1001]);
    }
}
