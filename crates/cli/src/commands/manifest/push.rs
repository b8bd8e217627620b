//! `corten manifest push`.

use std::ops::RangeInclusive;

use spec::Reference;
use spec::oci::image::Descriptor;
use spec::registry::Verb as Asked;

use super::list;
use crate::app::App;
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{print, registry};

#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Speak to a registry without verified TLS
    #[arg(long)]
    insecure: bool,
    /// Forget the list here after the push
    #[arg(short, long)]
    purge: bool,
    words: Vec<String>,
}

impl Verb for Push {
    const USAGE: &'static str = "[OPTIONS] MANIFEST_LIST";
    const ABOUT: &'static str = "Push a list of manifests to its registry";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = registry::reference(&self.words[0])?;
        let entries = list::read(app, &name)?;
        if entries.is_empty() {
            return Err(Error::invalid(format!("{name} not found")));
        }
        // What the list names must be in its repository: from wherever it is.
        for entry in &entries {
            let digest = entry.descriptor.digest;
            let from: Reference = entry.reference.parse().map_err(registry::invalid(&entry.reference))?;
            let from = Reference { tag: None, digest: Some(digest), ..from };
            let to = Reference { tag: None, digest: Some(digest), ..name.clone() };
            if from.repository() != to.repository() {
                registry::copy(app, &from, &to, self.insecure, |_| {})?;
            }
            print::line(format!("Pushed ref {to} with digest: {digest}"));
        }
        let (media_type, index) = list::index(&entries);
        let put = Asked::Put { media_type: media_type.into(), bytes: index };
        let pushed: Descriptor = registry::ask(app, &name, self.insecure, put, |_| {})?;
        if self.purge {
            list::remove(app, &name)?;
        }
        print::line(pushed.digest.to_string());
        Ok(0)
    }
}
