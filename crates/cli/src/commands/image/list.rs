//! `corten images`.

use std::ops::RangeInclusive;

use spec::Reference;
use spec::api::ImageSummary;

use super::tree;
use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::filter;
use crate::json::Json;
use crate::list::{Kind, row, short_id};
use crate::verb::Verb;
use crate::{print, time, units};

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show all images (default hides intermediate images)
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show only what matches (e.g. "dangling=true")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only show image IDs
    #[arg(short, long)]
    quiet: bool,
    /// List the platforms of each image as a tree
    #[arg(long)]
    tree: bool,
    repository: Vec<String>,
}

const HEADERS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

const KIND: Kind = Kind {
    table: "table {{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    headers: HEADERS,
};

/// The same with digests.
const WITH_DIGESTS: Kind = Kind {
    table: "table {{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
    headers: HEADERS,
};

impl Verb for List {
    const USAGE: &'static str = "[OPTIONS] [REPOSITORY[:TAG]]";
    const ABOUT: &'static str = "List images";
    const WORDS: RangeInclusive<usize> = 0..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let mut filters = filter::filters(&self.filter)?;
        if let Some(name) = self.repository.first() {
            filters.add("reference", name);
        }
        let configured = if self.format.is_none() && !self.quiet {
            app.config()?.text("imagesFormat").map(str::to_owned)
        } else {
            None
        };
        let plain = [
            (self.quiet, "--quiet"),
            (self.no_trunc, "--no-trunc"),
            (self.digests, "--digests"),
            (self.format.is_some(), "--format"),
        ];
        if let Some((_, flag)) = plain.iter().find(|(given, _)| *given && self.tree) {
            return Err(Error::invalid(format!("{flag} is not yet supported with --tree")));
        }
        let tree = configured.is_none() && plain.iter().all(|(given, _)| !given);
        let images = app.client().await?.image_list(self.all, tree, &filters).await?;
        if tree {
            print::out(tree::draw(&images, self.tree, self.all));
            return Ok(0);
        }
        let format = self.format.as_deref().unwrap_or_default();
        let digests = self.digests || format.contains(".Digest");
        let rows = images.iter().flat_map(|image| rows(image, !self.no_trunc, digests));
        let kind = if self.digests { &WITH_DIGESTS } else { &KIND };
        kind.show(self.format.as_deref(), configured.as_deref(), self.quiet, rows)?;
        Ok(0)
    }
}

const NONE: &str = "<none>";

/// One row for each name of an image.
pub(crate) fn rows(image: &ImageSummary, trunc: bool, digests: bool) -> Vec<Json> {
    let references = |names: &[String], placeholder: &str| -> Vec<Reference> {
        names.iter().filter(|name| *name != placeholder).filter_map(|name| name.parse().ok()).collect()
    };
    let tags = references(&image.repo_tags, "<none>:<none>");
    let by_digest = references(&image.repo_digests, "<none>@<none>");
    let digest_of = |repository: &str| {
        let found = by_digest.iter().find(|r| r.familiar_repository() == repository);
        found.and_then(|r| r.digest.as_ref()).map_or_else(|| NONE.to_owned(), ToString::to_string)
    };
    let mut names: Vec<(String, String, String)> = Vec::new();
    for reference in &tags {
        let repository = reference.familiar_repository();
        let digest = if digests { digest_of(&repository) } else { NONE.into() };
        names.push((repository, reference.tag.clone().unwrap_or_else(|| NONE.into()), digest));
    }
    if names.is_empty() {
        for reference in &by_digest {
            let repository = reference.familiar_repository();
            let digest = digest_of(&repository);
            names.push((repository, NONE.into(), digest));
        }
        names.truncate(if digests { names.len() } else { 1 });
    }
    if names.is_empty() {
        names.push((NONE.into(), NONE.into(), NONE.into()));
    }
    let or_none = |n: i64, text: String| if n == -1 { "N/A".to_owned() } else { text };
    names
        .into_iter()
        .map(|(repository, tag, digest)| {
            row(vec![
                ("Containers", or_none(image.containers, image.containers.to_string()).into()),
                ("CreatedAt", time::full(image.created).into()),
                ("CreatedSince", time::ago(image.created).into()),
                ("Digest", digest.into()),
                ("ID", if trunc { short_id(&image.id) } else { &image.id }.into()),
                ("Repository", repository.into()),
                ("SharedSize", or_none(image.shared_size, units::human_size(image.shared_size)).into()),
                ("Size", units::human_size_3(image.size).into()),
                ("Tag", tag.into()),
                (
                    "UniqueSize",
                    or_none(image.shared_size, units::human_size(image.size - image.shared_size)).into(),
                ),
                ("VirtualSize", units::human_size(image.size).into()),
            ])
        })
        .collect()
}
