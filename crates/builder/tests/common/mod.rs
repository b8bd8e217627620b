//! A builder on a machine of its own: a network namespace, a directory, a store with a busybox image in it.

#![allow(clippy::unwrap_used, reason = "a test's own set-up")]
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use builder::{Error, Host, Request};
use spec::Digest;
use spec::api::Progress;
use spec::oci::image::{Image, ImageConfig, Platform};
use sys::file::{self, Durability};
use sys::namespace::{Namespaces, unshare};

/// The machine. Everything is below one directory and in one namespace.
pub(crate) struct Machine {
    pub(crate) host: Host,
    dir: tempfile::TempDir,
    name: String,
    runtime: tokio::runtime::Runtime,
}

/// Gives `test` a machine, on a thread (and threads of that thread) in a network namespace of their own.
pub(crate) fn on_a_machine(test: impl FnOnce(&Machine) + Send + 'static) {
    testkit::need_root();
    let thread = std::thread::spawn(move || {
        unshare(Namespaces::NETWORK).unwrap();
        let machine = Machine::new();
        test(&machine);
        machine.finish();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Machine {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let name = format!("ct-builder-{}", spec::digest::hex(&sys::random::bytes::<3>()));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let networks = network::Networks::open(
            network::Config {
                state: dir.path().join("network"),
                run: dir.path().join("network"),
                bridge: "ctb0".into(),
                table: "ct_builder".into(),
                ready: 0,
                ..Default::default()
            },
            &[],
        );
        let host = Host {
            store: store::Store::open(&dir.path().join("store")).unwrap(),
            registry: registry::client::Client::new(registry::client::Config::default()),
            networks: networks.unwrap(),
            shim: Arc::new(shim::client::Program::seal(&testkit::program("corten-shim")).unwrap()),
            cache: dir.path().join("cache"),
            run: dir.path().join("run"),
            cgroups: Default::default(),
            cgroup_parent: format!("/{name}"),
            work: Arc::default(),
        };
        let machine = Self { host, dir, name, runtime };
        let config = Image {
            architecture: Platform::host().architecture,
            os: "linux".into(),
            config: ImageConfig { cmd: vec!["sh".into()], ..ImageConfig::default() },
            ..Image::default()
        };
        let target = machine.host.store.import(&mut &testkit::image::busybox()[..], config).unwrap();
        machine.host.store.tag(&"busybox:latest".parse().unwrap(), &target).unwrap();
        machine
    }

    /// A context directory with these files.
    pub(crate) fn context(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let dir = self.dir.path().join(name);
        file::create_dir_all(&dir, 0o755).unwrap();
        for (name, text) in files {
            put(&dir, name, text);
        }
        dir
    }

    /// Builds; the answer and the lines.
    pub(crate) fn build(&self, request: Request) -> (Result<Digest, Error>, Vec<String>) {
        self.runtime.block_on(async {
            let (sender, mut receiver) = tokio::sync::mpsc::channel::<Progress>(16);
            let lines = tokio::spawn(async move {
                let mut lines = Vec::new();
                while let Some(progress) = receiver.recv().await {
                    lines.extend(progress.stream);
                    lines.extend(progress.aux.map(|aux| aux.to_string()));
                }
                lines
            });
            let built = builder::build(&self.host, request, sender).await;
            (built.map(|id| id.expect("a build makes an image")), lines.await.unwrap())
        })
    }

    /// Builds a context under a name, with success; the image and the output.
    pub(crate) fn image(&self, context: &Path, tag: &str) -> (store::Image, String) {
        let request =
            Request { context: context.to_owned().into(), tags: vec![tag.into()], ..Request::default() };
        let (built, lines) = self.build(request);
        let output = lines.concat();
        let digest = built.unwrap_or_else(|e| panic!("{}\n{output}", chain(&e)));
        let target = self.host.store.resolve(tag).unwrap();
        assert_eq!(target.digest, digest);
        (self.host.store.image(&target, &Platform::host()).unwrap(), output)
    }

    /// The text of a file in an image's unpacked layers.
    pub(crate) fn file(&self, image: &store::Image, path: &str) -> Option<String> {
        let dirs = self.host.store.chain_dirs(image.chain.as_ref()?).unwrap();
        dirs.iter().find_map(|dir| std::fs::read_to_string(dir.join(path.trim_start_matches('/'))).ok())
    }

    /// The names in an image's highest layer, files and directories.
    pub(crate) fn top_layer(&self, image: &store::Image) -> Vec<String> {
        let dirs = self.host.store.chain_dirs(image.chain.as_ref().unwrap()).unwrap();
        let root = sys::root::Root::open(&dirs[0]).unwrap();
        let mut names = Vec::new();
        root.walk("", sys::root::TooDeep::Fail, |visit| {
            names.push(visit.path.to_string_lossy().into_owned());
            Ok::<(), sys::Error>(())
        })
        .unwrap();
        names
    }

    /// Starts something on the machine's async runtime.
    pub(crate) fn runtime(&self) -> &tokio::runtime::Runtime {
        &self.runtime
    }

    /// Nothing that a step made is left: writable layers, run-time files, cgroups, network interfaces.
    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.host.store.rw_list().unwrap(), Vec::<String>::new());
        assert_eq!(file::list(&self.host.run).unwrap(), Vec::<String>::new());
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(self.dir.path().to_str().unwrap()), "{mounts}");
        for hierarchy in file::list(Path::new("/sys/fs/cgroup")).unwrap() {
            let parent = Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.name);
            let left = file::list(&parent).unwrap_or_default();
            assert!(!left.iter().any(|name| name.starts_with("build-")), "{}: {left:?}", parent.display());
        }
    }

    fn finish(&self) {
        self.assert_clean();
        self.host.networks.shutdown().unwrap();
        for hierarchy in file::list(Path::new("/sys/fs/cgroup")).unwrap() {
            let _ = std::fs::remove_dir(Path::new("/sys/fs/cgroup").join(hierarchy).join(&self.name));
        }
    }
}

/// Writes one file.
pub(crate) fn put(dir: &Path, name: &str, text: &str) {
    let path = dir.join(name);
    file::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
    file::write_atomic(&path, text.as_bytes(), 0o644, Durability::Process).unwrap();
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    text
}
