//! `corten image copy` and `corten image referrers`: from registry to registry, without an engine.

use std::ops::RangeInclusive;

use spec::oci::image::Descriptor;
use spec::registry::Verb as Asked;

use crate::app::App;
use crate::error::Result;
use crate::verb::Verb;
use crate::{print, registry};

#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// Speak to the registries without verified TLS
    #[arg(long)]
    insecure: bool,
    /// Only print the digest
    #[arg(short, long)]
    quiet: bool,
    words: Vec<String>,
}

impl Verb for Copy {
    const USAGE: &'static str = "[OPTIONS] SOURCE TARGET";
    const ABOUT: &'static str = "Copy an image, all its platforms, between registries";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let (from, to) = (registry::reference(&self.words[0])?, registry::reference(&self.words[1])?);
        let copied = registry::copy(app, &from, &to, self.insecure, |line| {
            if !self.quiet {
                let id = line.id.map_or_else(String::new, |id| format!("{id}: "));
                print::line(format!("{id}{}", line.status.unwrap_or_default()));
            }
        })?;
        if self.quiet {
            print::line(copied.digest.to_string());
        }
        Ok(0)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Referrers {
    /// Speak to the registry without verified TLS
    #[arg(long)]
    insecure: bool,
    /// Only those of this artifact type
    #[arg(long, default_value = "")]
    artifact_type: String,
    words: Vec<String>,
}

impl Verb for Referrers {
    const USAGE: &'static str = "[OPTIONS] IMAGE";
    const ABOUT: &'static str = "List what refers to an image in its registry: signatures, attestations";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let image = registry::reference(&self.words[0])?;
        let asked = Asked::Referrers { kind: self.artifact_type };
        let found: Vec<Descriptor> = registry::ask(app, &image, self.insecure, asked, |_| {})?;
        for descriptor in found {
            let kind = descriptor.artifact_type.unwrap_or_else(|| descriptor.media_type.clone());
            print::line(format!("{}  {kind}", descriptor.digest));
        }
        Ok(0)
    }
}
