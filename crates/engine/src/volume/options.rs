//! Options of the local driver. Pure.
//!
//! | options | what the volume is |
//! |---|---|
//! | none; `size`, `uid`, `gid`, `mode` | a directory of ours: what it may take (project quota); whose it is and how it is opened (Corten's own) |
//! | `type`, `device`, `o` | what mount(2) makes of them, while somebody uses it |

use std::collections::BTreeMap;
use std::net::IpAddr;

use sys::mount::Flags;

use crate::Error;

/// Docker's, and what each needs beside it.
const NEEDS: [(&str, &[&str]); 3] =
    [("device", &["type"]), ("type", &["device"]), ("o", &["device", "type"])];
/// Of plain volumes only.
const OWNER: [&str; 3] = ["uid", "gid", "mode"];

/// What a plain volume's directory is beyond Docker's root:root 0755.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) mode: Option<u32>,
}

/// Whether something has to be mounted before the volume can be used.
pub(crate) fn need_mount(options: &BTreeMap<String, String>) -> bool {
    ["type", "device"].iter().any(|key| options.get(*key).is_some_and(|value| !value.is_empty()))
}

/// Refuses what the driver does not understand, in Docker's words.
pub(crate) fn check(options: &BTreeMap<String, String>) -> Result<(), Error> {
    let invalid = |text: String| Err(Error::Invalid(text));
    let docker = |key: &str| matches!(key, "type" | "o" | "device" | "size");
    if let Some(key) = options.keys().find(|key| !docker(key) && !OWNER.contains(&key.as_str())) {
        return invalid(format!("invalid option: {key:?}"));
    }
    let get = |key: &str| options.get(key).map_or("", String::as_str);
    if get("type") == "cifs" && host_of(get("device")).is_some_and(|(_, port)| port) {
        return invalid("port not allowed in CIFS device URL, include 'port' in 'o='".into());
    }
    size(options)?;
    for (key, needed) in NEEDS.iter().filter(|(key, _)| options.contains_key(*key)) {
        if let Some(missing) = needed.iter().find(|needed| !options.contains_key(**needed)) {
            return invalid(format!("missing required option: {missing:?} (option {key:?} needs it)"));
        }
    }
    if need_mount(options) {
        if let Some(key) = OWNER.iter().find(|key| options.contains_key(**key)) {
            return invalid(format!(
                "invalid option: {key:?}: of a volume with a type and a device it is a part of \"o\""
            ));
        }
        if options.values().any(|value| value.contains('\0')) {
            return invalid("invalid option: a NUL byte".into());
        }
    }
    owner(options).map(drop)
}

/// The limit in bytes; 0 is none.
pub(crate) fn size(options: &BTreeMap<String, String>) -> Result<Option<u64>, Error> {
    match options.get("size") {
        None => Ok(None),
        Some(text) => match spec::size::parse(text) {
            Some(bytes) => Ok(Some(bytes).filter(|bytes| *bytes > 0)),
            None => Err(Error::Invalid(format!("invalid size: '{text}'"))),
        },
    }
}

/// `uid`, `gid` (numbers) and `mode` (octal).
pub(crate) fn owner(options: &BTreeMap<String, String>) -> Result<Owner, Error> {
    let read = |key: &str, radix, largest: u32, expected: &str| match options.get(key) {
        None => Ok(None),
        Some(text) => match u32::from_str_radix(text, radix) {
            Ok(number) if number <= largest && !text.starts_with('+') => Ok(Some(number)),
            _ => Err(Error::Invalid(format!("invalid {key}: {text:?}: expected {expected}"))),
        },
    };
    Ok(Owner {
        uid: read("uid", 10, u32::MAX - 1, "a number")?,
        gid: read("gid", 10, u32::MAX - 1, "a number")?,
        mode: read("mode", 8, 0o7777, "an octal number up to 7777")?,
    })
}

/// What `o` means to mount(2): flags by the words of mount(8), and what is the file system's own, in its order.
pub(crate) fn mount_words(o: &str) -> (Flags, String) {
    let (mut flags, mut data) = (Flags::empty(), Vec::new());
    for word in o.split(',') {
        match flag(word) {
            Some((on, flag)) => flags = if on { flags.with(flag) } else { flags.without(flag) },
            None => data.push(word),
        }
    }
    (flags, data.join(","))
}

/// Whether a word sets or clears its flag. `None`: no word of ours.
fn flag(word: &str) -> Option<(bool, Flags)> {
    const RECURSIVE: Flags = Flags::RECURSIVE;
    Some(match word {
        "defaults" | "rw" => (false, if word == "rw" { Flags::READ_ONLY } else { Flags::empty() }),
        "ro" => (true, Flags::READ_ONLY),
        "suid" => (false, Flags::NO_SUID),
        "nosuid" => (true, Flags::NO_SUID),
        "dev" => (false, Flags::NO_DEV),
        "nodev" => (true, Flags::NO_DEV),
        "exec" => (false, Flags::NO_EXEC),
        "noexec" => (true, Flags::NO_EXEC),
        "async" => (false, Flags::SYNCHRONOUS),
        "sync" => (true, Flags::SYNCHRONOUS),
        "dirsync" => (true, Flags::DIR_SYNCHRONOUS),
        "remount" => (true, Flags::REMOUNT),
        "nomand" => (false, Flags::MANDATORY_LOCKS),
        "mand" => (true, Flags::MANDATORY_LOCKS),
        "atime" => (false, Flags::NO_ATIME),
        "noatime" => (true, Flags::NO_ATIME),
        "diratime" => (false, Flags::NO_DIR_ATIME),
        "nodiratime" => (true, Flags::NO_DIR_ATIME),
        "relatime" => (true, Flags::RELATIVE_ATIME),
        "norelatime" => (false, Flags::RELATIVE_ATIME),
        "strictatime" => (true, Flags::STRICT_ATIME),
        "nostrictatime" => (false, Flags::STRICT_ATIME),
        "bind" => (true, Flags::BIND),
        "rbind" => (true, Flags::BIND.with(RECURSIVE)),
        "private" => (true, Flags::PRIVATE),
        "rprivate" => (true, Flags::PRIVATE.with(RECURSIVE)),
        "shared" => (true, Flags::SHARED),
        "rshared" => (true, Flags::SHARED.with(RECURSIVE)),
        "slave" => (true, Flags::SLAVE),
        "rslave" => (true, Flags::SLAVE.with(RECURSIVE)),
        "unbindable" => (true, Flags::UNBINDABLE),
        "runbindable" => (true, Flags::UNBINDABLE.with(RECURSIVE)),
        _ => return None,
    })
}

/// The name of a server that the kernel must be given the address of, as it cannot look one up: `addr=` of NFS and
/// CIFS, else the host in a CIFS device (`//host/share`).
pub(crate) fn server(kind: &str, device: &str, o: &str) -> Option<String> {
    let is_name = |text: &&str| !text.is_empty() && text.parse::<IpAddr>().is_err();
    match kind {
        "nfs" | "nfs4" | "cifs" => {
            let address = o.split(',').find_map(|word| word.strip_prefix("addr=")).filter(|a| !a.is_empty());
            match address {
                Some(address) => Some(address).filter(is_name).map(str::to_owned),
                None if kind == "cifs" => {
                    host_of(device).map(|(host, _)| host).filter(is_name).map(str::to_owned)
                }
                None => None,
            }
        }
        _ => None,
    }
}

/// Device and options with the server's address in its name's place.
pub(crate) fn with_address(device: &str, o: &str, name: &str, address: IpAddr) -> (String, String) {
    let named = format!("addr={name}");
    if o.split(',').any(|word| word == named) {
        return (device.to_owned(), o.replacen(&named, &format!("addr={address}"), 1));
    }
    (device.replacen(name, &address.to_string(), 1), o.to_owned())
}

/// The host in `//host[:port]/share`, and whether there is a port.
fn host_of(device: &str) -> Option<(&str, bool)> {
    let (_, rest) = device.split_once("//")?;
    let authority = rest.split('/').next().unwrap_or(rest);
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, true))
        }
        _ => Some((authority, false)),
    }
}

/// A text with the passwords in `o` covered.
pub(crate) fn without_password(text: &str, o: &str) -> String {
    let mut text = text.to_owned();
    for word in o.split(',') {
        if let Some((key @ ("password" | "pass" | "password2"), value)) = word.split_once('=')
            && !value.is_empty()
        {
            text = text.replace(word, &format!("{key}=********"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_is_not_understood_is_refused_in_dockers_words() {
        for good in [
            &[][..],
            &[("type", "none"), ("o", "bind"), ("device", "/x")],
            &[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=5")],
            &[("type", "nfs"), ("o", "addr=server,rw"), ("device", ":/x")],
            &[("size", "10m"), ("uid", "1000"), ("gid", "1000"), ("mode", "2770")],
            &[("size", "0")],
        ] {
            assert!(check(&options(good)).is_ok(), "{good:?}");
        }
        for (bad, text) in [
            (&[("colour", "red")][..], "invalid option: \"colour\""),
            (&[("type", "nfs")], "missing required option: \"device\""),
            (&[("device", "/x")], "missing required option: \"type\""),
            (&[("o", "ro"), ("type", "nfs")], "missing required option: \"device\""),
            (&[("type", "cifs"), ("device", "//host:445/share")], "port not allowed in CIFS device URL"),
            (&[("size", "much")], "invalid size: 'much'"),
            (&[("uid", "root")], "invalid uid: \"root\""),
            (&[("mode", "99")], "invalid mode: \"99\""),
            (&[("gid", "4294967295")], "invalid gid"),
            (&[("type", "tmpfs"), ("device", "t"), ("uid", "1")], "part of \"o\""),
        ] {
            let error = check(&options(bad)).unwrap_err().to_string();
            assert!(error.starts_with(text) || error.contains(text), "{bad:?}: {error}");
        }
    }

    #[test]
    fn words_of_mount_become_flags_and_the_rest_is_the_file_systems() {
        let (flags, data) = mount_words("ro,addr=1.2.3.4,nolock,noexec,exec,soft");
        assert_eq!((flags, data.as_str()), (Flags::READ_ONLY, "addr=1.2.3.4,nolock,soft"));
        assert_eq!(mount_words("rbind,rslave").0.bits(), 0x1000 | 0x4000 | 0x8_0000);
        assert_eq!(mount_words(""), (Flags::empty(), String::new()));
        assert_eq!(mount_words("size=1m,uid=5").1, "size=1m,uid=5");
    }

    #[test]
    fn only_names_of_servers_are_looked_up() {
        for (kind, device, o, name) in [
            ("nfs", ":/x", "addr=server,rw", Some("server")),
            ("nfs4", ":/x", "addr=server", Some("server")),
            ("nfs", ":/x", "addr=10.0.0.1,rw", None),
            ("nfs", ":/x", "addr=::1", None),
            ("nfs", "server:/x", "rw", None),
            ("tmpfs", "tmpfs", "addr=server", None),
            ("cifs", "//server/share", "username=u", Some("server")),
            ("cifs", "//10.0.0.1/share", "", None),
            ("cifs", "//server/share", "addr=10.0.0.1", None),
            ("cifs", "//server/share", "addr=other", Some("other")),
        ] {
            assert_eq!(server(kind, device, o).as_deref(), name, "{kind} {device} {o}");
        }
        let at = "10.0.0.9".parse().unwrap();
        assert_eq!(
            with_address(":/x", "addr=server,rw", "server", at),
            (":/x".into(), "addr=10.0.0.9,rw".into())
        );
        assert_eq!(with_address("//server/server", "ro", "server", at).0, "//10.0.0.9/server");
    }

    #[test]
    fn passwords_are_covered() {
        let o = "username=u,password=secret";
        assert_eq!(without_password("data: password=secret: x", o), "data: password=********: x");
        assert_eq!(
            without_password("data: pass=a,pass=b: x", "pass=a,pass=b"),
            "data: pass=********,pass=********: x"
        );
        assert_eq!(without_password("x", "ro"), "x");
    }
}
