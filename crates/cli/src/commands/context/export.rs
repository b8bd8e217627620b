//! `corten context export`.

use std::io::Write as _;
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::store;
use crate::app::App;
use crate::context::{CERTIFICATES, DEFAULT, Meta, Store};
use crate::endpoint;
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{print, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    words: Vec<String>,
}

impl Verb for Export {
    const USAGE: &'static str = "CONTEXT [FILE|-]";
    const ABOUT: &'static str = "Export a context to a tar archive FILE or a tar stream on STDOUT.";
    const WORDS: RangeInclusive<usize> = 1..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let name = &self.words[0];
        let archive = pack(app, &store(app)?, name)
            .map_err(|error| Error::invalid(format!("cannot export the context: {}", error.line())))?;
        let usual = format!("{name}.dockercontext");
        match self.words.get(1).map_or(usual.as_str(), String::as_str) {
            "-" if terminal::stdout_is_terminal() => {
                Err(Error::invalid("cowardly refusing to export to a terminal, specify a file path"))
            }
            "-" => {
                print::out(archive);
                Ok(0)
            }
            path => {
                // It may hold a key: nobody else's to read, and nothing is replaced.
                let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
                let written = opened.and_then(|mut file| file.write_all(&archive));
                written.map_err(Error::file("open", Path::new(path)))?;
                print::err_line(format!("Written file {path:?}"));
                Ok(0)
            }
        }
    }
}

/// `meta.json`, and `tls/docker/` with what there is of certificates.
fn pack(app: &App, store: &Store, name: &str) -> Result<Vec<u8>> {
    let (meta, tls) = if name == DEFAULT {
        let endpoint = endpoint::resolve_default(app.globals(), app.config()?)?;
        let tls = endpoint.tls.unwrap_or_default();
        let mut meta = Meta { name: name.to_owned(), ..Meta::default() };
        meta.point_at(&endpoint.host.to_string(), tls.skip_verify);
        (meta, tls)
    } else {
        (store.read(name)?, store.read_tls(name)?)
    };
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |path: &str, mode: u32, kind: tar::EntryType, bytes: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes).map_err(|source| Error::Io { what: "cannot pack", source })
    };
    add("meta.json", 0o644, tar::EntryType::Regular, &serde_json::to_vec(&meta).expect("text keys only"))?;
    let parts = [tls.ca, tls.certificate, tls.key];
    if parts.iter().any(Option::is_some) {
        add("tls/", 0o700, tar::EntryType::Directory, b"")?;
        add("tls/docker/", 0o700, tar::EntryType::Directory, b"")?;
    }
    for (file, bytes) in CERTIFICATES.iter().zip(&parts) {
        if let Some(bytes) = bytes {
            add(&format!("tls/docker/{file}"), 0o600, tar::EntryType::Regular, bytes)?;
        }
    }
    tar.into_inner().map_err(|source| Error::Io { what: "cannot pack", source })
}
