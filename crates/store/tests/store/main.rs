//! The store on a real file system, with real archives and real overlay mounts. Needs root.

#![allow(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod archives;
mod collect;
mod image;
mod layer;
mod mutate;
mod rw;
mod settle;

use std::io::Write;
use std::path::Path;

use spec::Digest;
use spec::oci::image::{Descriptor, Image, RootFs, media};
use store::Store;
use tar::{Builder, EntryType, Header};

/// A store in a directory of its own.
struct Fixture {
    store: Store,
    directory: tempfile::TempDir,
}

fn fixture() -> Fixture {
    assert!(std::fs::File::open("/etc/shadow").is_ok(), "these tests need root");
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    Fixture { store, directory }
}

impl Fixture {
    fn path(&self, below: &str) -> std::path::PathBuf {
        self.directory.path().join(below)
    }

    /// The files of one unpacked layer.
    fn layer(&self, chain: &store::ChainId) -> std::path::PathBuf {
        self.store.chain_dirs(chain).unwrap().remove(0)
    }

    /// An image of these layers (plain tars), unpacked, and its target.
    fn image(&self, layers: &[Vec<u8>]) -> Descriptor {
        let mut config = Image { architecture: "amd64".into(), os: "linux".into(), ..Image::default() };
        let mut blobs = Vec::new();
        for layer in layers {
            let descriptor = self.store.put_blob(media::LAYER, layer).unwrap();
            config.rootfs.diff_ids.push(descriptor.digest);
            blobs.push(descriptor);
        }
        let target = self.store.put_image(&config, &blobs).unwrap();
        let image = self.store.image(&target, &spec::oci::image::Platform::default()).unwrap();
        self.store.unpack_image(&image).unwrap();
        target
    }

    fn list(&self, below: &str) -> Vec<String> {
        sys::file::list(&self.store.root().join(below)).unwrap()
    }
}

/// An archive by the `tar` crate.
struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Any entry, its path taken as it is, hostile or not.
    fn entry(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, path, "", content.as_bytes())
    }

    fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, target, b"")
    }

    fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Link, path, target, b"")
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The digest of bytes, by writing them as a blob to a store of no importance.
fn digest(bytes: &[u8]) -> Digest {
    let directory = tempfile::tempdir().unwrap();
    Store::open(directory.path()).unwrap().put_blob("", bytes).unwrap().digest
}

fn empty_config() -> Image {
    Image { architecture: "amd64".into(), os: "linux".into(), rootfs: RootFs::default(), ..Image::default() }
}

/// Runs a shell script in a mount namespace of its own; it must succeed.
#[expect(clippy::disallowed_methods, reason = "a test may run mount(8) and tar(1)")]
fn shell(script: &str) -> String {
    let output = std::process::Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-euc", script])
        .output()
        .expect("unshare(1) runs");
    assert!(output.status.success(), "{script}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// mount(8)'s command line for an overlay at `$m`.
fn overlay(lower: &[std::path::PathBuf], upper: Option<(&Path, &Path)>, at: &Path) -> String {
    let lower: Vec<_> = lower.iter().map(|path| path.to_str().unwrap()).collect();
    let mut options = format!("lowerdir={},redirect_dir=off,metacopy=off", lower.join(":"));
    if let Some((upper, work)) = upper {
        options += &format!(",upperdir={},workdir={}", upper.display(), work.display());
    }
    format!("m={0}; mkdir -p $m; mount -t overlay overlay -o {options} $m\n", at.display())
}

/// Paths, kinds, modes, owners and contents of a tree, as text.
const DESCRIBE: &str = r#"(cd $m && find . -printf '%p %y %m %U:%G %l %n\n' | sort; find . -type f -print0 | sort -z | xargs -0r sha256sum)"#;

/// Extended attributes of a tree that belong to its content, as text.
fn xattrs(path: &Path) -> String {
    let mut text = String::new();
    let root = sys::root::Root::open(path).unwrap();
    root.walk("", sys::root::TooDeep::Fail, |visit| {
        for (key, value) in visit.dir.xattrs(visit.name)? {
            if !key.to_str().unwrap().starts_with("trusted.") {
                text += &format!("{} {key:?} {value:?}\n", visit.path.display());
            }
        }
        Ok::<_, sys::Error>(())
    })
    .unwrap();
    text
}

/// cap_net_raw=ep, as the kernel keeps it (revision 2).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn set_xattr(directory: &Path, name: &str, key: &str, value: &[u8]) {
    sys::root::Root::open(directory).unwrap().top().set_xattr(name, key.as_ref(), value).unwrap();
}
