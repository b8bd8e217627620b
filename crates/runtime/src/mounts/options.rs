//! Mount options: words that mean attributes, propagation or binding; the rest is the file system's own.

use sys::mount::{Attributes, Depth, Propagation};

/// All words that are known here, sorted; others are the file system's own.
pub(crate) const WORDS: [&str; 57] = [
    "async",
    "atime",
    "bind",
    "defaults",
    "dev",
    "diratime",
    "exec",
    "idmap",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "nodirsync",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "strictatime",
    "suid",
    "symfollow",
    "tmpcopyup",
];

/// The options of one mount, sorted out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    /// It is a bind mount, of this depth.
    pub(super) bind: Option<Depth>,
    /// Attributes of the mount itself.
    pub(super) add: Attributes,
    pub(super) remove: Attributes,
    /// Attributes of it and all below (`rro` and the like).
    pub(super) add_below: Attributes,
    pub(super) remove_below: Attributes,
    pub(super) propagation: Option<(Propagation, Depth)>,
    /// Files get other owners, by the mount's or the container's maps.
    pub(super) map_ids: Option<Depth>,
    /// A new tmpfs begins with what is at its place.
    pub(super) copy_up: bool,
    /// Of a bind mount (`subpath=…`): what is there below the source.
    pub(super) subpath: Option<String>,
    /// It shows what is the kernel's, and only a directory may be covered by it.
    pub(super) kernels: bool,
    /// It has the mode of the directory that it covers.
    pub(super) inherits_mode: bool,
    /// It becomes read-only when everything in it is made.
    pub(super) late_read_only: bool,
    /// The file system's own, `key` or `key=value`.
    pub(super) data: Vec<String>,
}

impl Options {
    pub(super) fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        for word in words {
            options.take(word);
        }
        options
    }

    fn take(&mut self, word: &str) {
        match word {
            "bind" => self.bind = Some(Depth::One),
            "rbind" => self.bind = Some(Depth::All),
            "idmap" => self.map_ids = Some(Depth::One),
            "ridmap" => self.map_ids = Some(Depth::All),
            "tmpcopyup" => self.copy_up = true,
            // What is so without them, or means nothing to today's kernels.
            "defaults" | "async" | "nodirsync" | "nolazytime" | "noiversion" | "nomand" | "mand"
            | "silent" | "loud" => {}
            "private" => self.propagation = Some((Propagation::Private, Depth::One)),
            "rprivate" => self.propagation = Some((Propagation::Private, Depth::All)),
            "slave" => self.propagation = Some((Propagation::Slave, Depth::One)),
            "rslave" => self.propagation = Some((Propagation::Slave, Depth::All)),
            "shared" => self.propagation = Some((Propagation::Shared, Depth::One)),
            "rshared" => self.propagation = Some((Propagation::Shared, Depth::All)),
            "unbindable" => self.propagation = Some((Propagation::Unbindable, Depth::One)),
            "runbindable" => self.propagation = Some((Propagation::Unbindable, Depth::All)),
            _ => {
                if let Some((attribute, add)) = attribute(word) {
                    // The last word on an attribute counts.
                    self.add = if add { self.add.with(attribute) } else { self.add.without(attribute) };
                    self.remove =
                        if add { self.remove.without(attribute) } else { self.remove.with(attribute) };
                } else if let Some((attribute, add)) = word.strip_prefix('r').and_then(attribute) {
                    if add {
                        self.add_below = self.add_below.with(attribute);
                    } else {
                        self.remove_below = self.remove_below.with(attribute);
                    }
                } else if let Some(path) = word.strip_prefix("subpath=").filter(|_| self.bind.is_some()) {
                    self.subpath = Some(path.to_owned());
                } else {
                    self.data.push(word.to_owned());
                }
            }
        }
    }
}

/// The attribute that a word names, and whether it sets it.
fn attribute(word: &str) -> Option<(Attributes, bool)> {
    Some(match word {
        "ro" => (Attributes::READ_ONLY, true),
        "rw" => (Attributes::READ_ONLY, false),
        "nosuid" => (Attributes::NO_SUID, true),
        "suid" => (Attributes::NO_SUID, false),
        "nodev" => (Attributes::NO_DEV, true),
        "dev" => (Attributes::NO_DEV, false),
        "noexec" => (Attributes::NO_EXEC, true),
        "exec" => (Attributes::NO_EXEC, false),
        "noatime" => (Attributes::NO_ATIME, true),
        "strictatime" => (Attributes::STRICT_ATIME, true),
        "atime" | "relatime" | "norelatime" | "nostrictatime" => (Attributes::ATIME, false),
        "nodiratime" => (Attributes::NO_DIR_ATIME, true),
        "diratime" => (Attributes::NO_DIR_ATIME, false),
        "nosymfollow" => (Attributes::NO_SYMLINKS, true),
        "symfollow" => (Attributes::NO_SYMLINKS, false),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Options {
        Options::parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_sorted_out() {
        let options = parse(&["rbind", "ro", "rslave", "nosuid", "rro", "size=64k", "defaults", "mode=755"]);
        assert_eq!(options.bind, Some(Depth::All));
        assert_eq!(options.add, Attributes::READ_ONLY.with(Attributes::NO_SUID));
        assert_eq!(options.add_below, Attributes::READ_ONLY);
        assert_eq!(options.propagation, Some((Propagation::Slave, Depth::All)));
        assert_eq!(options.data, ["size=64k", "mode=755"]);
    }

    #[test]
    fn the_last_word_counts() {
        let options = parse(&["ro", "rw", "nodev"]);
        assert_eq!(options.add, Attributes::NO_DEV);
        assert_eq!(options.remove, Attributes::READ_ONLY);
    }
}
