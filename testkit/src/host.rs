//! A throw-away host: a network namespace with an outside, a directory, a cgroup, and a `cortend`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Instant;

use crate::{BOUND, Command, audit, image, need_root, program, schema, until};

/// The host's address on its way to the outside (TEST-NET-2 of RFC 5737).
pub const HOST_ADDRESS: &str = "198.51.100.1";
/// The address of the machine outside.
pub const OUTSIDE_ADDRESS: &str = "198.51.100.2";

/// A host of the test's own. [`Host::finish`] audits it; dropping it without (a failed test) only cleans up.
#[derive(Debug)]
pub struct Host {
    /// `ct-<hex>`: names its namespace, cgroup and table.
    pub name: String,
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Host {
    /// A host with a running daemon and no images.
    pub fn bare() -> Self {
        let mut host = Self::stopped();
        host.start_daemon();
        host
    }

    /// A host on which no daemon runs yet.
    pub fn stopped() -> Self {
        need_root();
        let directory =
            tempfile::Builder::new().prefix("ct-").rand_bytes(5).tempdir().expect("a temporary directory");
        let name = directory.path().file_name().expect("a name").to_string_lossy().to_lowercase();
        let host = Self { name, directory, daemon: None };
        host.make_networks();
        host
    }

    /// A host with a running daemon and `busybox:latest`.
    pub fn new() -> Self {
        let host = Self::bare();
        host.import_busybox();
        host
    }

    /// Gives the daemon `busybox:latest`.
    pub fn import_busybox(&self) {
        let tar = self.path("busybox.tar");
        std::fs::write(&tar, image::busybox()).expect("writing the image");
        self.corten(&["import", "-c", "CMD [\"sh\"]", &tar.display().to_string(), "busybox:latest"]).ok();
    }

    /// A path in the host's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The daemon's socket, as `-H` wants it.
    pub fn socket(&self) -> String {
        format!("unix://{}", self.path("corten.sock").display())
    }

    /// `corten` on this host.
    pub fn corten(&self, arguments: &[&str]) -> Command {
        let corten = program("corten").display().to_string();
        self.command(&[&[corten.as_str(), "-H", &self.socket()], arguments].concat())
            .env("DOCKER_CONFIG", &self.path("client").display().to_string())
    }

    /// The original `docker` client, pointed at this host's `cortend`.
    pub fn docker(&self, arguments: &[&str]) -> Command {
        self.command(&[&["docker", "-H", &self.socket()], arguments].concat())
            .env("DOCKER_BUILDKIT", "0")
            .env("DOCKER_CONFIG", &self.path("docker").display().to_string())
    }

    /// The original `docker compose`, in a project's directory.
    pub fn compose(&self, project: &Path, arguments: &[&str]) -> Command {
        let plugins = self.path("docker/cli-plugins");
        std::fs::create_dir_all(&plugins).expect("a directory for plugins");
        let plugin = plugins.join("docker-compose");
        if !plugin.exists() {
            std::os::unix::fs::symlink(crate::client("docker-compose"), &plugin)
                .expect("a link to the plugin");
        }
        self.docker(&[&["compose", "--ansi", "never"], arguments].concat()).directory(project)
    }

    /// Runs a Python program with docker-py and testcontainers against this host's `cortend`.
    pub fn python(&self, program: &str) -> Command {
        let python = crate::client("python/bin/python").display().to_string();
        self.command(&[&python, "-"])
            .env("DOCKER_HOST", &self.socket())
            .env("DOCKER_CONFIG", &self.path("docker").display().to_string())
            .stdin(program)
    }

    /// Any program in this host's network.
    pub fn command(&self, words: &[&str]) -> Command {
        let namespace = format!("--net=/run/netns/{}", self.name);
        Command::new(&[&["nsenter", &namespace, "--"], words].concat())
    }

    /// Any program on the machine outside.
    pub fn outside(&self, words: &[&str]) -> Command {
        let namespace = format!("--net=/run/netns/{}-out", self.name);
        Command::new(&[&["nsenter", &namespace, "--"], words].concat())
    }

    /// Starts the daemon and waits until it answers.
    pub fn start_daemon(&mut self) {
        self.start_daemon_with(&[], &[]);
    }

    /// Starts the daemon by a program that becomes it (`env A=b`), with further arguments, and waits until it answers.
    pub fn start_daemon_with(&mut self, by: &[&str], arguments: &[&str]) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.path("cortend.log")).expect("log");
        let child = std::process::Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.name))
            .arg("--")
            .args(by)
            .arg(program("cortend"))
            .args(["-H", &self.socket(), "--data-root"])
            .arg(self.path("data"))
            .arg("--exec-root")
            .arg(self.path("run"))
            .args(["--cgroup-parent", &self.cgroup_parent(), "--firewall-table", &self.name])
            .args(arguments)
            .env("CORTEND_WIRE_LOG", self.path("wire.log"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("log"))
            .stderr(log)
            .spawn()
            .expect("starting cortend");
        self.daemon = Some(child);
        let socket = self.path("corten.sock");
        until("cortend's socket", || {
            if let Ok(Some(status)) = self.daemon.as_mut().expect("just set").try_wait() {
                panic!("cortend ended at once: {status}\n{}", self.daemon_log());
            }
            answers(&socket).then_some(())
        });
    }

    /// The parent of the containers' cgroups; where the host's systemd makes them by default, a slice.
    pub fn cgroup_parent(&self) -> String {
        if audit::has_systemd() { format!("{}.slice", self.name) } else { format!("/{}", self.name) }
    }

    /// The daemon's pid.
    pub fn daemon_pid(&self) -> u32 {
        self.daemon.as_ref().expect("a running daemon").id()
    }

    /// `kill -9` of the daemon; returns when it is gone.
    pub fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().expect("a running daemon");
        daemon.kill().expect("killing cortend");
        daemon.wait().expect("reaping cortend");
    }

    /// Asks the daemon to end, and waits for it.
    pub fn stop_daemon(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let pid = rustix::process::Pid::from_child(&daemon);
            // It may have ended by itself; the wait below tells.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
            until("cortend's end", || daemon.try_wait().ok().flatten());
        }
    }

    /// What the daemon has logged.
    pub fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.path("cortend.log")).unwrap_or_default()
    }

    /// Removes the containers that are left, ends the daemon, and fails the test when anything else is left.
    #[track_caller]
    pub fn finish(mut self) {
        let left = self.corten(&["ps", "-aq"]).ok();
        for id in left.split_whitespace() {
            self.corten(&["rm", "-f", "-v", id]).ok();
        }
        let mut found = audit::host(&self);
        self.stop_daemon();
        found.extend(schema::check(&self.path("wire.log")));
        assert!(found.is_empty(), "left behind:\n  {}\n{}", found.join("\n  "), self.daemon_log());
    }

    fn make_networks(&self) {
        let (host, out) = (&self.name, format!("{}-out", self.name));
        let (near, far) = (format!("{HOST_ADDRESS}/24"), format!("{OUTSIDE_ADDRESS}/24"));
        for words in [
            format!("ip netns add {host}"),
            format!("ip netns add {out}"),
            format!("ip -n {host} link add up0 type veth peer name down0 netns {out}"),
            format!("ip -n {host} link set lo up"),
            format!("ip -n {out} link set lo up"),
            format!("ip -n {host} addr add {near} dev up0"),
            format!("ip -n {out} addr add {far} dev down0"),
            format!("ip -n {host} link set up0 up"),
            format!("ip -n {out} link set down0 up"),
            format!("ip -n {host} route add default via {OUTSIDE_ADDRESS}"),
        ] {
            Command::new(&words.split(' ').collect::<Vec<_>>()).ok();
        }
    }

    fn directory_path(&self) -> &Path {
        self.directory.path()
    }

    /// Kills what still runs out of this host's directory and removes its cgroups, mounts and namespaces.
    fn clean_up(&self) {
        let start = Instant::now();
        // Again, until nothing is left: who is killed may have been about to start somebody, and leaves its cgroup late.
        until("the end of what a test has left, or its bound", || {
            let mut running = audit::processes_of(self.directory_path());
            running.extend(audit::processes_in(&self.name));
            for pid in &running {
                let _ = Command::new(&["kill", "-9", &pid.to_string()]).output();
            }
            audit::remove_cgroups(&self.name);
            let gone = running.is_empty() && audit::cgroups(&self.name).is_empty();
            (gone || start.elapsed() > BOUND / 2).then_some(())
        });
        audit::unmount_below(self.directory_path());
        for name in [self.name.clone(), format!("{}-out", self.name)] {
            let _ = Command::new(&["ip", "netns", "del", &name]).output();
        }
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a daemon says something at a socket. That it takes a connection is not enough: what a killed daemon was about to
/// start has its sockets for a moment longer.
fn answers(socket: &Path) -> bool {
    let Ok(mut line) = UnixStream::connect(socket) else { return false };
    let asked = line.set_read_timeout(Some(BOUND)).and_then(|()| {
        line.write_all(b"GET /_ping HTTP/1.1\r\nHost: corten\r\nConnection: close\r\n\r\n")?;
        line.read_exact(&mut [0; 12])
    });
    asked.is_ok()
}

impl Drop for Host {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("---- cortend's log\n{}", self.daemon_log());
        }
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        self.clean_up();
    }
}
