//! Who makes cgroups, and what a `cgroupsPath` means to them: a path, or `slice:prefix:name` of a systemd scope.

use serde::{Deserialize, Serialize};

/// Who makes containers' cgroups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CgroupDriver {
    /// The runtime, as directories.
    #[default]
    Cgroupfs,
    /// systemd, as scopes, which it then knows of.
    Systemd,
}

impl CgroupDriver {
    /// As it is configured and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroupfs => "cgroupfs",
            Self::Systemd => "systemd",
        }
    }

    /// The `cgroupsPath` of something below `parent`, a path or a slice. Scopes have their kind as a prefix.
    pub fn below(self, parent: &str, prefix: &str, name: &str) -> String {
        match self {
            Self::Cgroupfs => format!("/{}/{name}", parent.trim_matches('/')),
            Self::Systemd => format!("{parent}:{prefix}:{name}"),
        }
    }

    /// Where a `cgroupsPath` is under the hierarchies' tops.
    ///
    /// # Errors
    /// As [`Scope::parse`].
    pub fn directory(self, cgroups_path: &str) -> Result<String, String> {
        match self {
            Self::Cgroupfs => Ok(cgroups_path.to_owned()),
            Self::Systemd => Scope::parse(cgroups_path, "").map(|scope| scope.path()),
        }
    }

    /// Whether a user's word can be a parent of cgroups, in Docker's words if not.
    ///
    /// # Errors
    /// It leads out of the hierarchy, or is no slice.
    pub fn check_parent(self, parent: &str) -> Result<(), &'static str> {
        if parent.split('/').any(|part| part == "..") {
            return Err("cgroup-parent must not contain \"..\"");
        }
        if self == Self::Systemd && !parent.is_empty() && !is_slice(parent) {
            return Err("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"");
        }
        Ok(())
    }

    /// Where a parent of cgroups is.
    ///
    /// # Errors
    /// It is no slice.
    pub fn parent(self, parent: &str) -> Result<String, String> {
        match self {
            Self::Cgroupfs => Ok(parent.to_owned()),
            Self::Systemd => expand(parent),
        }
    }
}

/// A unit of systemd's that is a container's cgroup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// `system.slice`.
    pub slice: String,
    /// `docker-<id>.scope`, or a slice.
    pub unit: String,
}

impl Scope {
    /// Reads a `cgroupsPath`; none at all is a scope named after the container, `id`.
    ///
    /// # Errors
    /// What is wrong with it, in runc's words where it has some.
    pub fn parse(cgroups_path: &str, id: &str) -> Result<Self, String> {
        let parts: Vec<&str> = cgroups_path.split(':').collect();
        let (slice, prefix, name) = match parts[..] {
            [""] => ("", "runc", id),
            [slice, prefix, name] => (slice, prefix, name),
            _ => {
                return Err(format!(
                    "expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {cgroups_path:?} instead"
                ));
            }
        };
        let slice = if slice.is_empty() { "system.slice" } else { slice };
        let unit = match prefix {
            _ if name.ends_with(".slice") => name.to_owned(),
            "" => format!("{name}.scope"),
            prefix => format!("{prefix}-{name}.scope"),
        };
        // The characters that systemd allows (systemd.unit(5)), but for those of templates.
        let fine = |unit: &str| unit.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\".contains(&b));
        if name.is_empty() || !fine(&unit) || unit.len() > 255 {
            return Err(format!("invalid unit name {unit:?}"));
        }
        expand(slice)?;
        Ok(Self { slice: slice.to_owned(), unit })
    }

    /// Its cgroup: a slice `a-b.slice` lies in `a.slice`.
    pub fn path(&self) -> String {
        let slice = expand(&self.slice).unwrap_or_default();
        format!("{slice}/{}", self.unit)
    }
}

/// Whether systemd's driver takes this as a parent of cgroups.
pub fn is_slice(name: &str) -> bool {
    expand(name).is_ok()
}

/// `a-b.slice` is `/a.slice/a-b.slice`, and `-.slice` the top.
fn expand(slice: &str) -> Result<String, String> {
    let wrong = || Err(format!("invalid slice name: {slice}"));
    let Some(name) = slice.strip_suffix(".slice").filter(|name| !name.is_empty()) else { return wrong() };
    if name == "-" {
        return Ok(String::new());
    }
    let (mut path, mut prefix) = (String::new(), String::new());
    for part in name.split('-') {
        if part.is_empty() || part.contains(['/', ':']) || part == ".." {
            return wrong();
        }
        path.push_str(&format!("/{prefix}{part}.slice"));
        prefix.push_str(&format!("{part}-"));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_their_places() {
        let table = [
            ("system.slice:docker:c1", "/system.slice/docker-c1.scope"),
            (":docker:c1", "/system.slice/docker-c1.scope"),
            ("a-b-c.slice:x:c1", "/a.slice/a-b.slice/a-b-c.slice/x-c1.scope"),
            ("-.slice:x:c1", "/x-c1.scope"),
            ("a.slice::c1", "/a.slice/c1.scope"),
            ("a.slice:x:a-b.slice", "/a.slice/a-b.slice"),
            ("", "/system.slice/runc-c1.scope"),
        ];
        for (path, place) in table {
            assert_eq!(Scope::parse(path, "c1").unwrap().path(), place, "{path}");
        }
        for bad in
            ["/a/b", "a.slice:b", "a:b:c", "a--b.slice:x:c", "-a.slice:x:c", "a/b.slice:x:c", "a.slice:x:"]
        {
            assert!(Scope::parse(bad, "c1").is_err(), "{bad}");
        }
        assert!(is_slice("a-b.slice") && !is_slice(".slice") && !is_slice("a"));
    }
}
