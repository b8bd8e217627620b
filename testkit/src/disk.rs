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

    /// An ext4 of 256 MiB that can have project quotas; whether it keeps to them is the mount option's to say.
    pub fn ext4(options: &str) -> Self {
        Self::mounted(&format!(
            "truncate -s 256M img; mkfs.ext4 -q -O quota,project -E quotatype=prjquota img; \
             mount -o loop,{options} img mnt; rmdir mnt/lost+found"
        ))
    }

    fn mounted(script: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("ctdisk-").tempdir().expect("a temporary directory");
        let disk = Self(directory);
        Command::new(&["sh", "-euc", &format!("cd {}; mkdir mnt; {script}", disk.0.path().display())]).ok();
        disk
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
