//! One engine under test: its daemon in a network namespace and directory of its own, and its command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::{Outcome, root};

/// An engine. Dropped: its containers, daemon, namespace and files are removed.
pub(super) struct Peer {
    /// `corten`, `docker`, or a commit of ours.
    pub(super) name: String,
    client: PathBuf,
    socket: String,
    directory: PathBuf,
    namespace: String,
    program: Box<dyn Fn(&Path) -> Command>,
    daemon: Child,
}

impl Peer {
    /// Ours, as it ships: the binaries in `dist`.
    pub(super) fn corten(name: &str, dist: &Path) -> Result<Self, String> {
        let program = dist.join("cortend");
        let daemon = move |directory: &Path| {
            let mut command = Command::new(&program);
            command
                .arg("--data-root")
                .arg(directory.join("data"))
                .arg("--exec-root")
                .arg(directory.join("run"));
            command.args(["--cgroup-parent", "/ct-bench"]);
            command
        };
        Self::begin(name, dist.join("corten"), Box::new(daemon))
    }

    /// The Docker that is installed, driven by the `docker` client that is installed.
    pub(super) fn docker() -> Result<Self, String> {
        let dockerd =
            installed("dockerd").map_err(|_| "dockerd is missing: apt-get install docker.io (or --alone)")?;
        let daemon = move |directory: &Path| {
            let mut command = Command::new(&dockerd);
            command
                .arg("--data-root")
                .arg(directory.join("data"))
                .arg("--exec-root")
                .arg(directory.join("run"));
            command.arg("--pidfile").arg(directory.join("pid"));
            command
        };
        Self::begin("docker", "docker".into(), Box::new(daemon))
    }

    fn begin(name: &str, client: PathBuf, program: Box<dyn Fn(&Path) -> Command>) -> Result<Self, String> {
        let namespace = format!("ct-bench-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&namespace);
        let run = directory.join("run");
        std::fs::create_dir_all(&run).map_err(|e| format!("{}: {e}", run.display()))?;
        // As /run is: what lasts no longer than the machine runs is not on its disk.
        sh(&format!("mount -t tmpfs -o mode=700 tmpfs {}", run.display()))?;
        let socket = format!("unix://{}/s", directory.display());
        sh(&format!("ip netns add {namespace} && ip -n {namespace} link set lo up"))?;
        let daemon = spawn(&program(&directory), &namespace, &socket, &directory)?;
        let name = name.to_owned();
        let peer = Self { name, client, socket, directory, namespace, program, daemon };
        peer.wait()?;
        let tar = peer.directory.join("busybox.tar");
        sh(&format!("sh {}/scripts/images.sh busybox -o {}", root().display(), tar.display()))?;
        peer.ok(&["import", &tar.display().to_string(), "busybox:bench"])?;
        Ok(peer)
    }

    fn wait(&self) -> Result<(), String> {
        let start = std::time::Instant::now();
        while start.elapsed().as_secs() < 60 {
            if self.ok(&["version"]).is_ok() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        Err(format!("{}'s daemon does not answer:\n{log}", self.name))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.client);
        command.args(["-H", &self.socket]).args(arguments).stdin(Stdio::null());
        command.env("DOCKER_CONFIG", self.directory.join("client"));
        command
    }

    /// Runs the original client against this engine.
    pub(super) fn original(&self, arguments: &[&str]) -> Result<(), String> {
        let mut command = Command::new("docker");
        command.args(["-H", &self.socket]).args(arguments).stdin(Stdio::null());
        let output = command.env("DOCKER_CONFIG", self.directory.join("client")).output();
        let output = output.map_err(|e| format!("docker: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Runs the client to its end, traced.
    pub(super) fn traced(&self, trace: &trace::Trace, arguments: &[&str]) -> Result<(), String> {
        let client = self.command(arguments);
        let mut command = Command::new("sh");
        command.args(["-c", &trace.joining(), "sh"]).arg(client.get_program()).args(client.get_args());
        command.stdin(Stdio::null()).env("DOCKER_CONFIG", self.directory.join("client"));
        let output = command.output().map_err(|e| format!("sh: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// A file beside the engine's.
    pub(super) fn scratch(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Kills the daemon and starts it again: milliseconds from the start until its API answers.
    pub(super) fn restart(&mut self) -> Result<f64, String> {
        self.kill_daemon()?;
        self.start_daemon()
    }

    pub(super) fn kill_daemon(&mut self) -> Outcome {
        self.daemon.kill().and_then(|()| self.daemon.wait()).map(drop).map_err(|e| e.to_string())
    }

    pub(super) fn start_daemon(&mut self) -> Result<f64, String> {
        let start = std::time::Instant::now();
        self.daemon =
            spawn(&(self.program)(&self.directory), &self.namespace, &self.socket, &self.directory)?;
        while self.ok(&["version"]).is_err() {
            if start.elapsed().as_secs() > 60 {
                return Err(format!("{}'s daemon does not come back", self.name));
            }
        }
        Ok(start.elapsed().as_secs_f64() * 1e3)
    }

    /// Any program in this peer's network.
    pub(super) fn inside(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .arg("--")
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Starts the client with its output piped.
    pub(super) fn start(&self, arguments: &[&str]) -> Result<Child, String> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())
    }

    /// Runs the client to its end and returns what it printed, as bytes.
    pub(super) fn output(&self, arguments: &[&str]) -> Result<Vec<u8>, String> {
        let output = self.start(arguments)?.wait_with_output().map_err(|e| e.to_string())?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// The same, as text.
    pub(super) fn ok(&self, arguments: &[&str]) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.output(arguments)?).trim().to_owned())
    }

    /// Resident memory of the daemon, with the daemons it started that belong to no container.
    pub(super) fn daemon_megabytes(&self) -> Result<f64, String> {
        let mut kilobytes = 0.0;
        for pid in self.processes()? {
            let name = read(&format!("/proc/{pid}/comm"));
            if ["cortend", "dockerd", "containerd"].contains(&name.trim()) {
                kilobytes += field(&format!("/proc/{pid}/status"), "VmRSS:");
            }
        }
        Ok(kilobytes / 1024.0)
    }

    /// Mean proportional memory of the supervisors, one per container.
    pub(super) fn shim_megabytes(&self) -> Result<f64, String> {
        let mut figures = Vec::new();
        for pid in self.processes()? {
            if read(&format!("/proc/{pid}/cmdline")).contains("shim")
                && !read(&format!("/proc/{pid}/comm")).contains("sh\n")
            {
                figures.push(field(&format!("/proc/{pid}/smaps_rollup"), "Pss:"));
            }
        }
        let figures: Vec<f64> = figures.into_iter().filter(|f| *f > 0.0).collect();
        if figures.is_empty() {
            return Err(format!("{} has no supervisors", self.name));
        }
        Ok(figures.iter().sum::<f64>() / figures.len() as f64 / 1024.0)
    }

    /// Pids of the processes that have this peer's directory in their command line, the daemon included.
    pub(super) fn processes(&self) -> Result<Vec<u32>, String> {
        let needle = self.directory.display().to_string();
        let listed = std::fs::read_dir("/proc").map_err(|e| e.to_string())?;
        let pids = listed.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
        let ours = |pid: &u32| {
            read(&format!("/proc/{pid}/cmdline")).contains(&needle)
                || read(&format!("/proc/{pid}/environ")).contains(&needle)
        };
        Ok(pids.filter(|p| *p != std::process::id()).filter(ours).collect())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Ok(ids) = self.ok(&["ps", "-aq"]) {
            for id in ids.split_whitespace() {
                let _ = self.ok(&["rm", "-f", id]);
            }
        }
        let _ = sh(&format!("kill {}", self.daemon.id()));
        let _ = self.daemon.wait();
        for pid in self.processes().unwrap_or_default() {
            let _ = sh(&format!("kill -9 {pid}"));
        }
        let _ = sh(&format!("ip netns del {}", self.namespace));
        let _ =
            sh(&format!("umount -R {0}/data/* {0}/run 2>/dev/null; rm -rf {0}", self.directory.display()));
        let _ = sh("rmdir /sys/fs/cgroup/ct-bench /sys/fs/cgroup/*/ct-bench 2>/dev/null");
    }
}

/// Starts a daemon in its namespace; what it says is appended to its log.
fn spawn(inner: &Command, namespace: &str, socket: &str, directory: &Path) -> Result<Child, String> {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/run/netns/{namespace}"))
        .arg("--")
        .arg(inner.get_program())
        .args(inner.get_args());
    command.args(["-H", socket]).stdin(Stdio::null());
    let log = std::fs::File::options().create(true).append(true).open(directory.join("log"));
    let log = log.map_err(|e| format!("{}: {e}", directory.display()))?;
    command.stdout(log.try_clone().map_err(|e| e.to_string())?).stderr(log);
    command.spawn().map_err(|e| format!("{}: {e}", inner.get_program().display()))
}

fn read(path: &str) -> String {
    std::fs::read(path).map(|b| String::from_utf8_lossy(&b).replace('\0', " ")).unwrap_or_default()
}

/// The kilobytes in a line of a file under /proc.
fn field(path: &str, name: &str) -> f64 {
    let text = read(path);
    let line = text.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("0");
    line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0.0)
}

fn sh(script: &str) -> Result<(), String> {
    let output = Command::new("sh").args(["-c", script]).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// A program by its name: what `PATH` has, or Debian's place for daemons and runtimes.
pub(super) fn installed(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let found = places.find_map(|place| Some(place.join(name)).filter(|program| program.is_file()));
    found.ok_or_else(|| format!("{name} is missing: apt-get install {name}"))
}
