//! A file system of the test's own for a host's data root.

use crate::{Command, Host};

/// A mounted file system, outside of any host's directory. Make it before the host, so that it goes after it.
#[derive(Debug)]
pub struct Disk(tempfile::TempDir);

impl Disk {
    /// So much memory.
    pub fn tmpfs(size: &str) -> Self {
        Self::mounted(&format!("mount -t tmpfs -o size={size} tmpfs mnt"))
    }

    /// An ext4 of 256 MiB that keeps to project quotas; `None` where the kernel has none for ext4 (`CONFIG_QFMT_V2`).
    pub fn with_quotas() -> Option<Self> {
        let make = "truncate -s 256M img; mkfs.ext4 -q -O quota,project -E quotatype=prjquota img; \
                    mount -o loop,prjquota img mnt || exit 3; rmdir mnt/lost+found";
        let disk = Self::scratch();
        let made = disk.run(make).output();
        match made.code {
            0 => Some(disk),
            3 => None,
            _ => panic!("{made:?}"),
        }
    }

    /// A btrfs or xfs of 400 MiB, whose files can share blocks.
    pub fn of(kind: &str) -> Self {
        Self::mounted(&format!("truncate -s 400M img; mkfs.{kind} -q img; mount -o loop img mnt"))
    }

    fn mounted(script: &str) -> Self {
        let disk = Self::scratch();
        disk.run(script).ok();
        disk
    }

    fn scratch() -> Self {
        Self(tempfile::Builder::new().prefix("ctdisk-").tempdir().expect("a temporary directory"))
    }

    fn run(&self, script: &str) -> Command {
        Command::new(&["sh", "-euc", &format!("cd {}; mkdir mnt; {script}", self.0.path().display())])
    }

    /// Where it is mounted.
    pub fn path(&self) -> std::path::PathBuf {
        self.0.path().join("mnt")
    }

    /// A host whose data root is here, with no daemon yet.
    pub fn host(&self) -> Host {
        let host = Host::stopped();
        std::os::unix::fs::symlink(self.path(), host.path("data")).expect("a link to the disk");
        host
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a failed test's daemon may hold it for a moment. A loop device goes with its mount.
        let _ = Command::new(&["umount", "-l", &self.path().display().to_string()]).output();
    }
}
