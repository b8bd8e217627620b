//! A root file system of busybox, a configuration like the engine's, and one call for a whole life.

use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use runtime::{Child, Container, Failure, Io, Stdio};
use spec::defaults;
use spec::oci::runtime::{
    Capabilities, Linux, Mount, Namespace, NamespaceKind, Overlay, Process, Root, Spec, User,
};
use sys::file::{self, Durability};
use sys::process::{ExitStatus, reap};
use tempfile::TempDir;

/// A root file system; gone with the value.
pub(crate) struct Rootfs {
    directory: TempDir,
}

const COMMANDS: [&str; 36] = [
    "sh", "cat", "ls", "id", "env", "pwd", "hostname", "true", "false", "sleep", "mount", "unshare", "stat",
    "echo", "test", "grep", "touch", "mkdir", "tty", "kill", "head", "wc", "readlink", "umount", "sed", "ps",
    "stty", "dd", "ip", "mknod", "umask", "seq", "chroot", "tail", "uname", "ionice",
];

impl Rootfs {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("ct-runtime-").tempdir().unwrap();
        // The container's user has to get through.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        for name in ["lower/bin", "lower/etc", "lower/tmp", "lower/root", "upper", "work"] {
            fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let rootfs = Self { directory };
        fs::copy("/bin/busybox", rootfs.path("bin/busybox"))
            .expect("these tests need /bin/busybox (Debian: busybox-static)");
        for command in COMMANDS {
            symlink("busybox", rootfs.path(&format!("bin/{command}"))).unwrap();
        }
        rootfs.write("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nbob:x:1000:1001::/home/bob:/bin/sh\n");
        rootfs.write("etc/group", "root:x:0:\nwheel:x:10:root,bob\nbob:x:1001:\n");
        rootfs
    }

    /// A path in it.
    pub(crate) fn path(&self, path: &str) -> String {
        self.directory.path().join("lower").join(path).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        file::write_atomic(Path::new(&self.path(path)), text.as_bytes(), 0o644, Durability::Process).unwrap();
    }

    /// A configuration that runs a shell script in it, with Docker's defaults.
    pub(crate) fn shell(&self, script: &str) -> Spec {
        self.command(&["sh", "-c", script])
    }

    /// The same for any command.
    pub(crate) fn command(&self, args: &[&str]) -> Spec {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let linux = Linux {
            cgroups_path: format!("{}/{count}", cgroup_parent()),
            namespaces: namespaces(),
            seccomp: Some(defaults::default_profile(&strings(&defaults::CAPABILITIES))),
            masked_paths: strings(&defaults::MASKED_PATHS),
            readonly_paths: strings(&defaults::READONLY_PATHS),
            ..Linux::default()
        };
        let root = Root { path: self.path(""), ..Root::default() };
        Spec {
            process: Some(process(args)),
            root: Some(root),
            hostname: "box".into(),
            mounts: mounts(),
            linux,
            ..Spec::default()
        }
    }

    /// Makes the root an overlay: this file system below, an empty layer above.
    pub(crate) fn overlay(&self, spec: &mut Spec) {
        let at = |name: &str| self.directory.path().join(name).to_str().unwrap().to_owned();
        let overlay = Overlay {
            lower: vec![at("lower")],
            upper: at("upper"),
            work: at("work"),
            idmap: false,
            volatile: false,
        };
        spec.root.as_mut().unwrap().overlay = Some(overlay);
    }

    /// What the container wrote, with [`Rootfs::overlay`].
    pub(crate) fn upper(&self, path: &str) -> std::path::PathBuf {
        self.directory.path().join("upper").join(path)
    }
}

/// The cgroup above all of this program's containers.
fn cgroup_parent() -> String {
    format!("/ct-runtime-{}", std::process::id())
}

/// Removes what all tests share.
pub(crate) fn clean_up() {
    // Tests that make no container make no cgroup.
    if let Ok(cgroup) = sys::cgroup::Cgroup::open(&cgroup_parent()) {
        cgroup.remove().unwrap();
    }
}

/// A process like the engine's.
pub(crate) fn process(args: &[&str]) -> Process {
    let capabilities = strings(&defaults::CAPABILITIES);
    Process {
        args: strings(args),
        env: vec![format!("PATH={}", defaults::PATH)],
        cwd: "/".into(),
        user: User { username: "0".into(), ..User::default() },
        capabilities: Some(Capabilities {
            bounding: capabilities.clone(),
            effective: capabilities.clone(),
            permitted: capabilities,
            ..Capabilities::default()
        }),
        ..Process::default()
    }
}

fn namespaces() -> Vec<Namespace> {
    use NamespaceKind::{Cgroup, Ipc, Mount, Network, Pid, Uts};
    let new = |r#type| Namespace { r#type, path: String::new() };
    [Mount, Pid, Ipc, Uts, Network, Cgroup].into_iter().map(new).collect()
}

fn mounts() -> Vec<Mount> {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| Mount {
        destination: destination.into(),
        r#type: kind.into(),
        source: source.into(),
        options: strings(options),
        ..Mount::default()
    };
    vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", "size=67108864"]),
    ]
}

pub(crate) fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A way to hear what a process says on stdout and stderr.
pub(crate) struct Ear(File);

impl Ear {
    pub(crate) fn new() -> (Self, Io) {
        let (read, write) = std::io::pipe().unwrap();
        let io = Stdio {
            stdin: File::open("/dev/null").unwrap().into(),
            stdout: write.try_clone().unwrap().into(),
            stderr: write.into(),
        };
        (Self(File::from(OwnedFd::from(read))), Io::Streams(io))
    }

    /// Everything, until all who could say something are gone.
    pub(crate) fn listen(mut self) -> String {
        let mut text = String::new();
        self.0.read_to_string(&mut text).unwrap();
        text
    }

    /// One line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8(line).unwrap()
    }
}

/// What is left of a whole life.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) text: String,
    pub(crate) status: ExitStatus,
}

impl Outcome {
    pub(crate) fn lines(&self) -> Vec<&str> {
        self.text.lines().collect()
    }
}

/// create, start, wait, delete.
pub(crate) fn run(spec: &Spec) -> Result<Outcome, Failure> {
    let (ear, io) = Ear::new();
    let (mut container, child) = runtime::create(spec, io)?;
    let started = container.start();
    let text = ear.listen();
    let status = reap(child.pidfd.as_fd()).unwrap();
    container.delete()?;
    started.map(|()| Outcome { text, status })
}

/// A container whose init waits until the value is gone.
pub(crate) struct Running {
    pub(crate) container: Option<Container>,
    pub(crate) child: Child,
    pub(crate) ear: Ear,
}

impl Running {
    /// Runs `script` before it waits, and returns when that has said a line.
    pub(crate) fn new(spec: &Spec) -> Self {
        let (ear, io) = Ear::new();
        let (mut container, child) = runtime::create(spec, io).unwrap();
        container.start().unwrap();
        Self { container: Some(container), child, ear }
    }

    pub(crate) fn container(&self) -> &Container {
        self.container.as_ref().unwrap()
    }

    /// exec, wait.
    pub(crate) fn exec(&self, process: &Process) -> Result<Outcome, Failure> {
        let (ear, io) = Ear::new();
        let child = self.container().exec(process, io)?;
        let text = ear.listen();
        Ok(Outcome { text, status: reap(child.pidfd.as_fd()).unwrap() })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            let _ = container.kill(9, true);
            let _ = reap(self.child.pidfd.as_fd());
            container.delete().unwrap();
        }
    }
}
