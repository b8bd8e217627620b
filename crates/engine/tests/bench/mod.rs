//! An engine of its own for each test: a network namespace with only loopback, a data root, a cgroup, and a small image.

#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use engine::{Config, Engine, WaitCondition};
use spec::api::{ContainerConfig, ContainerCreateRequest, HostConfig};
use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};
use tokio::io::AsyncReadExt;

/// No step of a test may take longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const IMAGE: &str = "bench:1";

/// Where one test's engines live, one after the other.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    cgroup: String,
}

/// Runs a test on a fresh host. The body opens and drops engines with [`Bench::run`].
pub(crate) fn on_a_host(test: impl FnOnce(&Bench) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::netns::enter_new().expect("these tests need root: they make network namespaces");
            let mut batch = Batch::new();
            batch.up("lo");
            batch.send(&mut Socket::open(Family::Route).unwrap()).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let name = dir.path().file_name().unwrap().to_string_lossy().into_owned();
            let bench = Bench { dir, cgroup: format!("/ct-engine{name}") };
            test(&bench);
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Bench {
    fn config(&self) -> Config {
        let root = self.dir.path();
        Config {
            data_root: root.join("data"),
            exec_root: root.join("run"),
            cgroups: Default::default(),
            cgroup_parent: self.cgroup.clone(),
            shim: shim(),
            network: network::Config {
                state: root.join("data"),
                run: root.join("run"),
                bridge: "ct0".into(),
                table: "ct_engine".into(),
                ready: 0,
                ..Default::default()
            },
            userns_remap: String::new(),
            userns_pool: String::new(),
            selinux: false,
            settings: engine::Settings::default(),
            built_in: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    async fn open(&self) -> Engine {
        loop {
            match Engine::open(self.config()).await {
                Ok(engine) => return engine,
                // A shim that another test of this process spawns has a copy of the lock until its exec.
                Err(error) if error.message().contains("in use by another process") => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{}", error.message()),
            }
        }
    }

    /// Opens an engine and runs `body` with it. When it returns, the engine is dropped as by `kill -9`: no task of it
    /// runs on, and nothing was told to end.
    pub(crate) fn run<T>(&self, body: impl AsyncFnOnce(Engine) -> T) -> T {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let result = runtime.block_on(async {
            let engine = tokio::time::timeout(PATIENCE, self.open()).await.expect("the store stays in use");
            if engine.image_inspect(IMAGE, None, false).await.is_err() {
                engine.import(root_tar(), ("bench", "1"), &["CMD [\"sh\"]".into()], "", None).await.unwrap();
            }
            tokio::time::timeout(PATIENCE, body(engine)).await.expect("the test took too long")
        });
        runtime.shutdown_timeout(Duration::from_secs(10));
        result
    }
}

impl Drop for Bench {
    /// Ends what a test, or its failure, left running: what is in the test's cgroups, and its shims.
    fn drop(&mut self) {
        let below = self.cgroup.trim_start_matches('/');
        let top = Path::new("/sys/fs/cgroup");
        let dirs: Vec<PathBuf> = sys::file::list(top)
            .unwrap_or_default()
            .into_iter()
            .map(|hierarchy| top.join(hierarchy).join(below))
            .chain([top.join(below)])
            .filter(|dir| dir.join("cgroup.procs").exists())
            .collect();
        let mut pids = shims(self.dir.path());
        for dir in dirs.iter().flat_map(|dir| with_children(dir)) {
            let procs = sys::file::read(&dir.join("cgroup.procs")).unwrap_or_default();
            pids.extend(String::from_utf8_lossy(&procs).lines().filter_map(|l| l.parse::<i32>().ok()));
        }
        for pid in pids {
            if let Ok(pidfd) = sys::process::pidfd_open(pid) {
                let _ = sys::process::pidfd_send_signal(pidfd.as_fd(), spec::signal::KILL);
                let _ = sys::poll::wait(&pidfd, sys::poll::Interest::READ, Some(PATIENCE));
            }
        }
        for dir in dirs.iter().flat_map(|dir| with_children(dir)) {
            let _ = std::fs::remove_dir(dir);
        }
    }
}

/// The cgroups directly in one, then itself.
fn with_children(dir: &Path) -> Vec<PathBuf> {
    let names = sys::file::list(dir).unwrap_or_default().into_iter();
    names.map(|name| dir.join(name)).filter(|path| path.is_dir()).chain([dir.to_owned()]).collect()
}

/// The shims whose sockets are below `root`.
fn shims(root: &Path) -> Vec<i32> {
    let root = root.display().to_string();
    let all = sys::file::list(Path::new("/proc")).unwrap_or_default().into_iter();
    all.filter_map(|name| name.parse::<i32>().ok())
        .filter(|pid| {
            let line = sys::file::read(Path::new(&format!("/proc/{pid}/cmdline"))).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            line.starts_with("corten-shim") && line.contains(&root)
        })
        .collect()
}

/// The shim beside this test's own program.
fn shim() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("corten-shim");
    assert!(path.exists(), "{} is missing: run `cargo build -p shim` first", path.display());
    path
}

/// A root file system with a static busybox, as a tar.
fn root_tar() -> std::fs::File {
    let busybox = sys::file::read(Path::new("/bin/busybox")).expect("these tests need a static /bin/busybox");
    let mut tar = tempfile::tempfile().unwrap();
    let mut add = |name: &str, kind: u8, mode: u32, link: &str, content: &[u8]| {
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(157, link);
        put(257, "ustar");
        put(263, "00");
        header[156] = kind;
        let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
        header[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        header[154] = 0;
        tar.write_all(&header).unwrap();
        tar.write_all(content).unwrap();
        tar.write_all(&vec![0; content.len().next_multiple_of(512) - content.len()]).unwrap();
    };
    for dir in ["bin/", "dev/", "etc/", "proc/", "sys/", "tmp/", "data/"] {
        add(dir, b'5', 0o755, "", b"");
    }
    add("bin/busybox", b'0', 0o755, "", &busybox);
    for name in
        ["sh", "echo", "cat", "sleep", "id", "ls", "true", "false", "test", "kill", "stat", "hostname"]
    {
        add(&format!("bin/{name}"), b'2', 0o777, "busybox", b"");
    }
    add("etc/passwd", b'0', 0o644, "", b"root:x:0:0:root:/:/bin/sh\napp:x:7:8::/:/bin/sh\n");
    add("data/seed", b'0', 0o640, "", b"seed\n");
    tar.write_all(&[0; 1024]).unwrap();
    tar.rewind().unwrap();
    tar
}

/// A request to run a shell script.
pub(crate) fn script(text: &str) -> ContainerCreateRequest {
    ContainerCreateRequest {
        config: ContainerConfig {
            image: IMAGE.into(),
            cmd: vec!["sh".into(), "-c".into(), text.into()],
            attach_stdout: true,
            ..ContainerConfig::default()
        },
        host_config: HostConfig::default(),
        networking_config: Default::default(),
        secrets: Vec::new(),
    }
}

/// Creates, starts and waits; the exit code.
pub(crate) async fn run(engine: &Engine, name: &str, request: ContainerCreateRequest) -> i64 {
    let id = engine.create(Some(name), None, request).await.unwrap_or_else(|e| panic!("{}", e.message())).id;
    let waiter = engine.wait(&id, WaitCondition::NextExit).unwrap();
    engine.start(&id).await.unwrap_or_else(|e| panic!("{}", e.message()));
    waiter.done().await.status_code
}

/// Everything a container has written to its stdout and stderr, without the frames.
pub(crate) async fn output(engine: &Engine, id: &str) -> String {
    let options = engine::LogOptions { stdout: true, stderr: true, ..Default::default() };
    let (mut chunks, _) = engine.logs(id, options).await.unwrap_or_else(|e| panic!("{}", e.message()));
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.recv().await {
        bytes.extend_from_slice(&chunk);
    }
    unframed(&bytes)
}

/// Follows a running container's log until it holds `text`.
pub(crate) async fn until_output(engine: &Engine, id: &str, text: &str) {
    let options = engine::LogOptions { follow: true, stdout: true, ..Default::default() };
    let (mut chunks, _) = engine.logs(id, options).await.unwrap_or_else(|e| panic!("{}", e.message()));
    let mut bytes = Vec::new();
    while !unframed(&bytes).contains(text) {
        bytes.extend_from_slice(&chunks.recv().await.expect("the container goes on"));
    }
}

/// What comes out of an attached stream until its end, without the frames.
pub(crate) async fn read_all(attached: engine::Attached) -> String {
    let mut bytes = Vec::new();
    attached.socket.unwrap().read_to_end(&mut bytes).await.unwrap();
    if attached.tty { String::from_utf8_lossy(&bytes).into_owned() } else { unframed(&bytes) }
}

fn unframed(mut bytes: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<8>() {
        let (_, length) = spec::api::Stream::parse(*header).expect("a frame's header");
        let (payload, rest) = rest.split_at(length as usize);
        text.extend_from_slice(payload);
        bytes = rest;
    }
    String::from_utf8_lossy(&text).into_owned()
}
