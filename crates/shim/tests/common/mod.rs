//! A directory with a busybox root, a shim of our own build, and the audit that nothing is left of either.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests prepare their own files, and may fail"
)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use shim::client::{Connection, Program, Spawned, Template};
use shim::log::{Query, Reader};
use shim::proto::{Attach, Create, Event, Exec, Exit, Log, LogFiles, LogFormat};
use spec::api::Stream;
use spec::defaults::oci;
use spec::oci::runtime::{Linux, Process, Root, Spec};

pub const BOTH: Attach = Attach { stdin: false, stdout: true, stderr: true, framed: true };
pub const ALL: Attach = Attach { stdin: true, ..BOTH };
pub const RAW: Attach = Attach { stdin: true, stdout: true, stderr: true, framed: false };

/// One container's place: its files, its shim.
pub struct Place {
    directory: tempfile::TempDir,
    pub id: String,
    pub shim: Spawned,
    connection: Option<Connection>,
}

impl Place {
    /// Makes the root and spawns the shim.
    pub fn new() -> Self {
        Self::with(|program, id, dir| program.spawn(id, dir).unwrap())
    }

    /// The same with a copy of a template, which is in charge of the directory that the shim's is in.
    pub fn of_template() -> (Self, Template) {
        let mut template = None;
        let place = Self::with(|program, _, dir| {
            let length = dir.file_name().unwrap().len();
            let template = template.insert(Template::spawn(program, dir.parent().unwrap(), length).unwrap());
            template.copy(dir).unwrap().expect("it is the template's")
        });
        (place, template.unwrap())
    }

    fn with(begin: impl FnOnce(&Program, &str, &Path) -> (Connection, Spawned)) -> Self {
        testkit::need_root();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("ct-shim-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        for name in ["bin", "dev", "proc", "sys", "tmp", "etc"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", root.join("bin/busybox")).expect("busybox-static is needed");
        for name in ["sh", "cat", "echo", "sleep", "dd", "stty", "head", "yes", "tr", "id", "seq", "kill"] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        let program = Program::seal(Path::new(env!("CARGO_BIN_EXE_corten-shim"))).unwrap();
        let (connection, shim) = begin(&program, &id, &directory.path().join("shim"));
        Self { directory, id, shim, connection: Some(connection) }
    }

    /// The daemon's connection.
    pub fn connection(&mut self) -> &mut Connection {
        let directory = self.shim_directory();
        self.connection.get_or_insert_with(|| Connection::connect(&directory).unwrap())
    }

    /// The daemon dies: its connection ends.
    pub fn disconnect(&mut self) {
        self.connection = None;
    }

    /// A named pipe in the container's /tmp; the path on the host. Opening it waits for the other end.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path("root/tmp").join(name);
        let made = std::process::Command::new("/bin/busybox").arg("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn shim_directory(&self) -> PathBuf {
        self.path("shim")
    }

    pub fn process(&self, args: &[&str]) -> Process {
        Process {
            args: args.iter().map(|&a| a.to_owned()).collect(),
            env: vec!["PATH=/bin".into(), "TERM=xterm".into()],
            cwd: "/".into(),
            capabilities: Some(oci::capability_sets(&oci::capabilities())),
            ..Process::default()
        }
    }

    /// A request for a container that runs `args` and is started at once.
    pub fn create(&self, args: &[&str]) -> Create {
        Create {
            dir: None,
            spec: Spec {
                process: Some(self.process(args)),
                root: Some(Root { path: self.path("root").display().to_string(), ..Root::default() }),
                hostname: "box".into(),
                mounts: oci::standard_mounts(1 << 20),
                linux: Linux {
                    cgroups_path: format!("/{}", self.id),
                    namespaces: oci::standard_namespaces(),
                    devices: oci::standard_devices(),
                    ..Linux::default()
                },
                ..Spec::default()
            },
            netns: false,
            filter: false,
            promise: false,
            log: Some(Log { files: Some(self.log_files(LogFormat::JsonFile, 0, 1)), ..Log::default() }),
            open_stdin: false,
            stdin_once: false,
            attach: Vec::new(),
            start: true,
            reaper: false,
            runtime: None,
            cgroups: Default::default(),
            exit_file: self.path("exit.json"),
        }
    }

    pub fn log_files(&self, format: LogFormat, max_size: u64, max_files: u32) -> LogFiles {
        LogFiles { path: self.path("log"), format, max_size, max_files, compress: max_files > 1 }
    }

    pub fn sh(&self, script: &str) -> Create {
        self.create(&["/bin/sh", "-c", script])
    }

    pub fn run(&mut self, create: Create) -> i32 {
        self.connection().create(create, None, None, &[]).unwrap()
    }

    /// Runs with one client attached from the start.
    pub fn run_attached(&mut self, mut create: Create, wants: Attach) -> Client {
        let (client, theirs) = Client::pair();
        create.attach = vec![wants];
        self.connection().create(create, None, None, &[theirs]).unwrap();
        client
    }

    pub fn exec(&mut self, id: &str, process: Process, wants: Attach) -> Client {
        let (client, theirs) = Client::pair();
        self.connection().exec(Exec { id: id.into(), process, attach: Some(wants) }, Some(theirs)).unwrap();
        client
    }

    /// Waits until init has ended, as a daemon does.
    pub fn wait(&self) -> Exit {
        let mut watch = Connection::connect(&self.shim_directory()).unwrap().watch().unwrap();
        loop {
            match watch.next().unwrap().expect("the shim stays until it is told to delete") {
                Event::Exited(exit) => {
                    assert_eq!(self.record().unwrap(), exit, "exit.json is there before the event");
                    return exit;
                }
                Event::ExecExited { .. } | Event::Oom | Event::LogLost { .. } => {}
            }
        }
    }

    pub fn record(&self) -> Option<Exit> {
        let bytes = std::fs::read(self.path("exit.json")).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// The log's text, of one stream or both.
    pub fn log(&self, stream: Option<Stream>) -> String {
        self.log_in(LogFormat::JsonFile, stream)
    }

    pub fn log_in(&self, format: LogFormat, stream: Option<Stream>) -> String {
        let mut reader = Reader::open(&self.path("log"), format, Query::default()).unwrap();
        let entries = std::iter::from_fn(|| reader.next_entry().unwrap());
        let wanted = entries.filter(|entry| stream.is_none_or(|s| s == entry.stream));
        wanted.map(|entry| String::from_utf8(entry.text).unwrap()).collect()
    }

    /// Deletes the container, and fails if anything of it is left: the shim, its files, cgroups, processes, mounts.
    pub fn close(mut self) {
        self.connection().delete().unwrap();
        assert!(Connection::connect(&self.shim_directory()).is_err());
        self.audit();
    }

    /// As [`Place::close`], for a shim that ends because nobody needs it.
    pub fn audit(mut self) {
        self.disconnect();
        let ended = sys::poll::wait(self.shim.pidfd.as_fd(), sys::poll::Interest::READ, Some(testkit::BOUND))
            .unwrap();
        assert!(ended, "the shim ends");
        let status = sys::process::reap(self.shim.pidfd.as_fd()).unwrap();
        let note = std::fs::read_to_string(self.directory.path().join("shim/shim.log")).unwrap_or_default();
        assert_eq!(status, sys::process::ExitStatus::Code(0), "{note}");
        assert!(!self.directory.path().join("shim").exists() || note.is_empty());
        assert!(!self.directory.path().join("shim/shim.sock").exists());
        assert_eq!(testkit::audit::processes_of(self.directory.path()), Vec::<i32>::new());
        assert_eq!(testkit::audit::processes_of(Path::new(&self.id)), Vec::<i32>::new());
        assert_eq!(testkit::audit::mounts_in(self.directory.path()), Vec::<String>::new());
        assert_eq!(cgroups(&self.id), Vec::<PathBuf>::new());
    }
}

/// After a failed test: its container and shim end all the same.
impl Drop for Place {
    fn drop(&mut self) {
        self.connection = None;
        let Ok(mut connection) = Connection::connect(&self.shim_directory()) else { return };
        let _ = connection.kill(9, None, false);
        let mut ended =
            || connection.status().map_or(true, |status| status.exit.is_some() || !status.started);
        testkit::until("the container's end", || ended().then_some(()));
        let _ = connection.delete();
    }
}

fn cgroups(id: &str) -> Vec<PathBuf> {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|e| e.unwrap().path().join(id));
    hierarchies.chain([Path::new("/sys/fs/cgroup").join(id)]).filter(|path| path.exists()).collect()
}

/// A client's end of an attached socket.
pub struct Client(pub UnixStream);

impl Client {
    pub fn pair() -> (Self, OwnedFd) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(testkit::BOUND)).unwrap();
        (Self(ours), theirs.into())
    }

    pub fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Ends our writing.
    pub fn end(&self) {
        self.0.shutdown(Shutdown::Write).unwrap();
    }

    /// Everything to the end, raw.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Reads until `text` has come.
    pub fn read_until(&mut self, text: &str) -> String {
        let mut got = String::new();
        let mut byte = [0];
        while !got.contains(text) {
            assert_eq!(
                self.0.read(&mut byte).unwrap(),
                1,
                "the stream ended after {got:?}, without {text:?}"
            );
            got.push(char::from(byte[0]));
        }
        got
    }

    /// Everything to the end, as frames: stdout and stderr.
    pub fn frames(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        loop {
            let mut header = [0; 8];
            match self.0.read_exact(&mut header) {
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return (stdout, stderr),
                read => read.unwrap(),
            }
            let (stream, length) = Stream::parse(header).unwrap();
            let into = if stream == Stream::Stderr { &mut stderr } else { &mut stdout };
            let begin = into.len();
            into.resize(begin + length as usize, 0);
            self.0.read_exact(&mut into[begin..]).unwrap();
        }
    }
}
