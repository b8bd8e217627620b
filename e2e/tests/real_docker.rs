//! `corten` against the original daemon: Debian's dockerd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Child;

use testkit::{Command, Host, image, program, until};

/// Debian's dockerd on a host's network, in a directory of its own.
struct Dockerd {
    daemon: Child,
    directory: String,
}

impl Dockerd {
    fn start(host: &Host) -> Self {
        let directory = host.path("dockerd").display().to_string();
        std::fs::create_dir_all(&directory).unwrap();
        let log = format!(
            "exec dockerd --data-root {directory}/data --exec-root {directory}/run --pidfile {directory}/pid -H unix://{directory}/s >{directory}/log 2>&1"
        );
        let daemon = host.command(&["sh", "-c", &log]).spawn();
        Self { daemon, directory }
    }

    fn socket(&self) -> String {
        format!("unix://{}/s", self.directory)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // SIGTERM: it ends its containerd and unmounts what it mounted.
        let _ = Command::new(&["kill", &self.daemon.id().to_string()]).output();
        let _ = self.daemon.wait();
        let unmount = format!("umount -R {0}/data {0}/run/netns/* {0}/run 2>/dev/null; true", self.directory);
        let _ = Command::new(&["sh", "-c", &unmount]).output();
    }
}

#[test]
fn run_and_ps() {
    let host = Host::bare();
    let dockerd = Dockerd::start(&host);
    let corten = |arguments: &[&str]| {
        let program = program("corten").display().to_string();
        host.command(&[&[program.as_str(), "-H", &dockerd.socket()], arguments].concat())
    };
    until("dockerd", || (corten(&["version"]).output().code == 0).then_some(()));
    let tar = host.path("busybox.tar");
    testkit::write(&tar, &image::busybox());
    corten(&["import", "-c", "CMD [\"sh\"]", &tar.display().to_string(), "busybox:latest"]).ok();
    assert_eq!(corten(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");
    corten(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    corten(&["run", "--rm", "busybox", "no-such-program"]).fails(127);
    let id = corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    assert_eq!(corten(&["ps", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(corten(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    corten(&["rm", "-f", "c1"]).ok();
    assert_eq!(corten(&["ps", "-aq"]).ok(), "");
    drop(dockerd);
    host.finish();
}
