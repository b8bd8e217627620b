//! The image that ships inside Corten, made by `build.rs`.

/// Its name.
pub(crate) const NAME: &str = "corten/hello:latest";

/// A gzipped docker-archive.
pub(crate) const ARCHIVE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hello.tar.gz"));
