//! `corten context import`.

use std::io::Read;
use std::ops::RangeInclusive;

use client::Tls;

use super::store;
use crate::app::App;
use crate::context::{self, Meta};
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

/// The longest archive taken; Docker's bound.
const LONGEST: u64 = 10 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    words: Vec<String>,
}

impl Verb for Import {
    const USAGE: &'static str = "CONTEXT FILE|-";
    const ABOUT: &'static str = "Import a context from a tar file";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let (name, path) = (&self.words[0], &self.words[1]);
        context::check_name(name)?;
        let store = store(app)?;
        if store.exists(name) {
            return Err(Error::invalid(format!("context {name:?} already exists")));
        }
        let source: Box<dyn Read> = match path.as_str() {
            "-" => Box::new(std::io::stdin()),
            path => Box::new(std::fs::File::open(path).map_err(Error::file("open", path))?),
        };
        let mut bytes = Vec::new();
        let read = source.take(LONGEST + 1).read_to_end(&mut bytes);
        read.map_err(Error::file("read", path))?;
        if bytes.len() as u64 > LONGEST {
            return Err(Error::invalid("read exceeds the defined limit: a context has at most 10 MiB"));
        }
        let (mut meta, tls) = unpack(bytes)?;
        meta.name.clone_from(name);
        store.write_tls(name, &tls)?;
        store.write(&meta)?;
        print::line(name);
        print::err_line(format!("Successfully imported context {name:?}"));
        Ok(0)
    }
}

/// Reads an archive; nothing but the files that make a context may be in it.
fn unpack(mut bytes: Vec<u8>) -> Result<(Meta, Tls)> {
    if bytes.starts_with(b"PK") {
        return Err(Error::invalid("this is a zip archive: unpack it and make a tar of what is in it"));
    }
    // Docker's archives end without padding and without a trailer.
    bytes.resize(bytes.len().next_multiple_of(512) + 1024, 0);
    let invalid = |source| Error::Io { what: "this is no context: cannot read the archive", source };
    let (mut meta, mut tls) = (None, Tls::default());
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().map_err(invalid)? {
        let mut entry = entry.map_err(invalid)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(invalid)?;
        match path.as_str() {
            "meta.json" => {
                let read: Meta = serde_json::from_slice(&content)
                    .map_err(|error| Error::invalid(format!("meta.json: {error}")))?;
                meta = Some(read);
            }
            "tls/docker/ca.pem" => tls.ca = Some(content),
            "tls/docker/cert.pem" => tls.certificate = Some(content),
            "tls/docker/key.pem" => tls.key = Some(content),
            path => return Err(Error::invalid(format!("unexpected context file: {path:?}"))),
        }
    }
    let meta = meta.ok_or_else(|| Error::invalid("invalid context: no metadata found"))?;
    Ok((meta, tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn only_a_contexts_files_are_taken() {
        let meta: &[u8] =
            br#"{"Name":"x","Metadata":{"Description":"d"},"Endpoints":{"docker":{"Host":"tcp://a:1"}}}"#;
        let (read, tls) = unpack(archive(&[("meta.json", meta), ("tls/docker/ca.pem", b"CA")])).unwrap();
        assert_eq!((read.host(), read.description()), ("tcp://a:1", "d"));
        assert_eq!(tls.ca.as_deref(), Some(&b"CA"[..]));
        // As Docker's end: after the last byte.
        let mut short = archive(&[("meta.json", meta)]);
        short.truncate(512 + meta.len());
        assert_eq!(unpack(short).unwrap().0.host(), "tcp://a:1");
        assert!(unpack(archive(&[("meta.json", meta), ("../../x", b"")])).is_err());
        assert!(unpack(archive(&[("tls/docker/ca.pem", b"")])).is_err());
        assert!(unpack(b"PK\x03\x04".to_vec()).is_err());
        assert!(unpack(vec![b'x'; 2000]).is_err());
    }
}
