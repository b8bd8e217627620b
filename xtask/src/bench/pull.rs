//! `cargo xtask bench pull`: an image of eight layers, about 520 MB unpacked and 185 MB in gzip, from and to registries on
//! loopback: Debian's docker-registry, and ours.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::report::{Promise, Report};
use super::{Options, Peer, median, names, timed};
use crate::{Outcome, root};

const LAYERS: usize = 8;
/// Bytes of files in each layer.
const LAYER: u64 = 65_000_000;
/// Larger files are left out: images are made of many small ones.
const LARGEST: u64 = 4_000_000;
/// Where the files are taken from: what a system has is what images have.
const FILES: [&str; 3] = ["/usr/share", "/usr/bin", "/usr/lib"];
/// In milliseconds.
const PULL: Promise = Promise { must: 2000.0, aim: 1200.0 };
const NAME: &str = "127.0.0.1:5099/bench/image:1";

/// A registry in a peer's network.
struct Registry {
    child: Child,
    root: PathBuf,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(peer: &Peer, ours: Option<&Path>, root: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(root).map_err(|e| format!("{}: {e}", root.display()))?;
        let shown = root.display().to_string();
        let mut command = match ours {
            Some(dist) => {
                let cortend = dist.join("cortend").display().to_string();
                peer.inside(&[&cortend, "registry", "serve", "--listen", "127.0.0.1:5099", "--root", &shown])
            }
            None => {
                let config = root.with_extension("yml");
                let text = "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: /nowhere}}\n\
                            http: {addr: ''}\n";
                std::fs::write(&config, text).map_err(|e| e.to_string())?;
                let mut command =
                    peer.inside(&["/usr/bin/docker-registry", "serve", &config.display().to_string()]);
                command.env("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", root);
                command.env("REGISTRY_HTTP_ADDR", "127.0.0.1:5099");
                command
            }
        };
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let registry =
            Self { child: child.map_err(|e| format!("the registry: {e}"))?, root: root.to_owned() };
        for _ in 0..400 {
            let mut asked = peer.inside(&["curl", "-sf", "-m", "2", "http://127.0.0.1:5099/v2/"]);
            if asked.output().is_ok_and(|output| output.status.success()) {
                return Ok(registry);
            }
            std::thread::sleep(std::time::Duration::from_millis(25));
        }
        Err("the registry does not answer".into())
    }

    /// Stops it and forgets all that it has.
    fn forget(self) -> Outcome {
        let root = self.root.clone();
        drop(self);
        std::fs::remove_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))
    }
}

/// `[-n TIMES] [--gate] [--alone]`.
pub(super) fn bench(options: &Options) -> Outcome {
    let dist = options.dist()?;
    let image = image()?;
    let peers = options.peers()?;
    let scratch = std::env::temp_dir().join(format!("ct-bench-pull-{}", std::process::id()));
    // The image gets into the registry's files once; each peer has a process that serves them.
    let files = scratch.join("registry");
    {
        let registry = Registry::start(&peers[0], None, &files)?;
        peers[0].ok(&["load", "-i", &image.display().to_string()])?;
        peers[0].ok(&["push", NAME])?;
        peers[0].ok(&["rmi", "-f", NAME])?;
        drop(registry);
    }
    let mut report = Report::new("pull", &names(&peers));
    let rounds = options.times.clamp(3, 7);
    for (name, work, promise) in [
        ("pull, 8 layers", pull as fn(&Peer, &Path) -> Result<f64, String>, PULL),
        ("push, 8 layers", push, Promise::NONE),
    ] {
        let mut figures = vec![Vec::new(); peers.len()];
        for round in 0..=rounds {
            for (peer, figures) in peers.iter().zip(&mut figures) {
                let figure = work(peer, &files).map_err(|e| format!("{name} on {}: {e}", peer.name))?;
                // The first round warms caches.
                if round > 0 {
                    figures.push(figure);
                }
            }
        }
        let medians: Vec<f64> = figures.into_iter().map(median).collect();
        if name.starts_with("push") && medians.get(1).is_some_and(|docker| medians[0] > *docker) {
            report.broken(format!("{name}: slower than {}", peers[1].name));
        }
        report.row(name, "ms", &medians, promise);
    }
    let mut figures = Vec::new();
    let ours = scratch.join("ours");
    {
        let _registry = Registry::start(&peers[0], Some(&dist), &ours)?;
        peers[0].ok(&["load", "-i", &image.display().to_string()])?;
        peers[0].ok(&["push", NAME])?;
        peers[0].ok(&["rmi", "-f", NAME])?;
        for _ in 0..rounds {
            figures.push(timed(|| peers[0].ok(&["pull", NAME]).map(drop))?);
            peers[0].ok(&["rmi", "-f", NAME])?;
        }
    }
    report.row("pull, 8 layers, from our registry", "ms", &[median(figures)], PULL);
    let _ = std::fs::remove_dir_all(&scratch);
    report.finish(options.gate)
}

fn pull(peer: &Peer, files: &Path) -> Result<f64, String> {
    let _registry = Registry::start(peer, None, files)?;
    let figure = timed(|| peer.ok(&["pull", NAME]).map(drop))?;
    peer.ok(&["rmi", "-f", NAME])?;
    Ok(figure)
}

/// To an empty registry, of what was pulled.
fn push(peer: &Peer, files: &Path) -> Result<f64, String> {
    {
        let _registry = Registry::start(peer, None, files)?;
        peer.ok(&["pull", NAME])?;
    }
    let empty = Registry::start(peer, None, &files.with_file_name(format!("empty-{}", peer.name)))?;
    let figure = timed(|| peer.ok(&["push", NAME]).map(drop))?;
    empty.forget()?;
    peer.ok(&["rmi", "-f", NAME])?;
    Ok(figure)
}

/// The image as an OCI layout in a tar, made once from this machine's files.
fn image() -> Result<PathBuf, String> {
    let directory = root().join("target/bench-image");
    let tar = directory.join("image.tar");
    if tar.exists() {
        return Ok(tar);
    }
    println!("making the image in {}", directory.display());
    let layout = directory.join("layout");
    std::fs::create_dir_all(layout.join("blobs/sha256")).map_err(|e| e.to_string())?;
    let mut lists = vec![Vec::new(); LAYERS];
    let (mut number, mut bytes) = (0, 0);
    let mut directories: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    while let Some(next) = directories.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(&next).map_err(|e| e.to_string())?.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                directories.push(entry.path());
            } else if metadata.is_file() && metadata.size() < LARGEST && number < LAYERS {
                bytes += metadata.size();
                lists[number].push(entry.path().display().to_string());
                if bytes > LAYER {
                    (number, bytes) = (number + 1, 0);
                }
            }
        }
    }
    let (mut layers, mut diff_ids) = (Vec::new(), Vec::new());
    for (number, list) in lists.iter().enumerate() {
        let (names, layer) = (directory.join("names"), directory.join(format!("{number}.tar")));
        std::fs::write(&names, list.join("\n")).map_err(|e| e.to_string())?;
        let (names, layer) = (names.display(), layer.display());
        sh(&format!("tar -C / --hard-dereference -cf {layer} -T {names} 2>/dev/null; test -s {layer}"))?;
        diff_ids.push(sh(&format!("sha256sum {layer} | cut -c1-64"))?);
        sh(&format!("gzip -6 -n -f {layer}"))?;
        layers.push(blob(&layout, &format!("{layer}.gz"), "application/vnd.oci.image.layer.v1.tar+gzip")?);
    }
    let put = |text: String, kind: &str| {
        let path = directory.join("document");
        std::fs::write(&path, text).map_err(|e| e.to_string())?;
        blob(&layout, &path.display().to_string(), kind)
    };
    let ids: Vec<String> = diff_ids.iter().map(|id| format!("\"sha256:{id}\"")).collect();
    let config = put(
        format!(
            r#"{{"architecture":"amd64","os":"linux","config":{{}},"rootfs":{{"type":"layers","diff_ids":[{}]}}}}"#,
            ids.join(",")
        ),
        "application/vnd.oci.image.config.v1+json",
    )?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let layers = layers.join(",");
    let manifest = put(
        format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","config":{config},"layers":[{layers}]}}"#),
        kind,
    )?;
    let named = format!(r#","annotations":{{"io.containerd.image.name":"{NAME}"}}}}"#);
    let manifest = format!("{}{named}", manifest.trim_end_matches('}'));
    std::fs::write(layout.join("index.json"), format!(r#"{{"schemaVersion":2,"manifests":[{manifest}]}}"#))
        .map_err(|e| e.to_string())?;
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)
        .map_err(|e| e.to_string())?;
    sh(&format!("tar -C {0} -cf {1} . && rm -r {0}", layout.display(), tar.display()))?;
    Ok(tar)
}

/// Moves a file to its digest in the layout; its descriptor.
fn blob(layout: &Path, file: &str, kind: &str) -> Result<String, String> {
    let digest = sh(&format!("sha256sum {file} | cut -c1-64"))?;
    let size = std::fs::metadata(file).map_err(|e| format!("{file}: {e}"))?.len();
    sh(&format!("mv {file} {}/blobs/sha256/{digest}", layout.display()))?;
    Ok(format!(r#"{{"mediaType":"{kind}","digest":"sha256:{digest}","size":{size}}}"#))
}

fn sh(script: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-c", script]).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)))
}
