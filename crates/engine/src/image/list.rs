//! List: one line per target, with the names that are wanted.

use std::collections::{BTreeMap, HashMap, HashSet};

use spec::Filters;
use spec::api::{ImageSummary, Platform};
use spec::{Digest, Reference};
use store::ImageRecord;

use super::summary::{Summary, identity};
use super::{Names, created_at};
use crate::blocking::lasting;
use crate::volume::{excluded, is_true};
use crate::{Engine, Error};

/// What a list of images holds.
#[derive(Debug, Clone, Default)]
pub struct ImageListOptions {
    /// Images without a name too.
    pub all: bool,
    /// What is there of each platform.
    pub manifests: bool,
    /// With them, where the image is from.
    pub identity: bool,
    /// How much of each image others have as well.
    pub shared: bool,
    /// Only what these mean.
    pub filters: Filters,
}

impl Engine {
    /// `GET /images/json`, the newest first. Images without a name are listed with `all`, or when asked for.
    pub async fn images(&self, options: ImageListOptions) -> Result<Vec<ImageSummary>, Error> {
        let wanted = self.image_filter(&options.filters).await?;
        let hides = !options.all && options.filters.get("dangling").is_empty();
        let (targets, users) = (self.by_target(), self.manifest_users());
        let inner = self.inner.clone();
        Ok(lasting(move || {
            let mut found = Vec::new();
            for (digest, records) in targets {
                let summary = Summary::of(&inner.store, &records[0].target);
                let identity = identity(&records).filter(|_| options.identity);
                let best = summary.best(None).map(|(_, image)| &image.config);
                let labels = best.map(|config| config.config.labels.clone()).unwrap_or_default();
                let made = best.map_or(0, created_at);
                let records: Vec<&ImageRecord> = records
                    .iter()
                    .filter(|record| !(hides && record.is_dangling()))
                    .filter(|record| wanted.takes(record, &labels, made))
                    .collect();
                let Some(first) = records.first() else { continue };
                let names = Names::of(records.iter().copied());
                let line = ImageSummary {
                    id: digest.to_string(),
                    repo_tags: names.tags,
                    repo_digests: names.digests,
                    created: made.div_euclid(1_000_000_000),
                    size: summary.size().cast_signed(),
                    shared_size: -1,
                    labels,
                    containers: summary.users(&users),
                    manifests: if options.manifests {
                        summary.manifests(&users, identity.as_ref())
                    } else {
                        Vec::new()
                    },
                    descriptor: Some(first.target.clone()),
                    ..ImageSummary::default()
                };
                found.push((line, summary));
            }
            if options.shared {
                share(&mut found);
            }
            found.sort_by_key(|(line, _)| std::cmp::Reverse(line.created));
            found.into_iter().map(|(line, _)| line).collect()
        })
        .await)
    }

    /// What `filters` mean, with the images that they name looked up.
    pub(super) async fn image_filter(&self, filters: &Filters) -> Result<Filter, Error> {
        let mut bounds: HashMap<&str, Vec<i64>> = HashMap::new();
        for key in ["before", "since"] {
            for name in filters.get(key) {
                let (inner, target) = (self.inner.clone(), self.target(name)?);
                let made = lasting(move || {
                    let summary = Summary::of(&inner.store, &target);
                    summary.best(None).map_or(0, |(_, image)| created_at(&image.config))
                });
                bounds.entry(key).or_default().push(made.await);
            }
        }
        Ok(Filter {
            dangling: filters.get("dangling").iter().map(|v| is_true(v)).next_back(),
            before: bounds.remove("before").and_then(|times| times.into_iter().min()),
            since: bounds.remove("since").and_then(|times| times.into_iter().max()),
            until: crate::container::until(filters)?,
            filters: filters.clone(),
        })
    }

    /// The image ids that `ancestor` filters mean: those named, and all whose layers begin with theirs.
    pub(crate) async fn ancestors(&self, filters: &Filters) -> Vec<Digest> {
        let wanted: Vec<_> = filters.get("ancestor").iter().filter_map(|n| self.target(n).ok()).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let used: BTreeMap<Digest, _> = self
            .inner
            .containers
            .all()
            .iter()
            .map(|c| c.view())
            .map(|v| (v.record.image, v.record.manifest.clone()))
            .collect();
        let inner = self.inner.clone();
        lasting(move || {
            let layers = |target: &spec::api::Descriptor| {
                inner.store.image(target, &Platform::host()).map(|i| i.config.rootfs.diff_ids).ok()
            };
            let mut found: Vec<Digest> = wanted.iter().map(|t| t.digest).collect();
            for base in wanted.iter().filter_map(layers).filter(|l| !l.is_empty()) {
                let on_it =
                    |(_, manifest): &(&Digest, &_)| layers(manifest).is_some_and(|l| l.starts_with(&base));
                found.extend(used.iter().filter(on_it).map(|(image, _)| *image));
            }
            found
        })
        .await
    }
}

/// Which names a list or a prune takes.
pub(super) struct Filter {
    dangling: Option<bool>,
    before: Option<i64>,
    since: Option<i64>,
    until: Option<u64>,
    filters: Filters,
}

impl Filter {
    /// Whether it takes a name whose image has these labels and was made at this time (nanoseconds since 1970).
    pub(super) fn takes(&self, record: &ImageRecord, labels: &BTreeMap<String, String>, made: i64) -> bool {
        self.dangling.is_none_or(|dangling| dangling == record.is_dangling())
            && self.before.is_none_or(|before| made < before)
            && self.since.is_none_or(|since| made > since)
            && self.until.is_none_or(|until| record.tagged_at < until.div_ceil(1_000_000_000))
            && self.filters.labels("label", labels)
            && !excluded(&self.filters, labels)
            && self.filters.any("reference", |pattern| matches(pattern, &record.name))
    }
}

/// Fills in what each image shares with others of the list: layers and blobs that more than one has.
fn share(found: &mut [(ImageSummary, Summary)]) {
    let mut parts: Vec<HashSet<(Digest, u64)>> = Vec::new();
    for (_, summary) in found.iter() {
        let blobs = summary.members.iter().flat_map(|m| m.blobs.iter().copied());
        let layers = summary.members.iter().flat_map(|m| m.layers.iter().map(|(c, size)| (c.0, *size)));
        parts.push(blobs.chain(layers).collect());
    }
    let mut owners: HashMap<(Digest, u64), usize> = HashMap::new();
    for part in parts.iter().flatten() {
        *owners.entry(*part).or_default() += 1;
    }
    for ((line, _), parts) in found.iter_mut().zip(&parts) {
        let shared: u64 = parts.iter().filter(|part| owners[part] > 1).map(|(_, size)| size).sum();
        line.shared_size = shared.cast_signed();
    }
}

/// Whether a `reference` filter means a record's name: `busybox`, `busybox:1*`, `*/app`, with Go's `path.Match` wildcards.
fn matches(pattern: &str, name: &str) -> bool {
    let Ok(name) = name.parse::<Reference>() else { return false };
    let candidates = [
        name.familiar(),
        name.familiar_repository(),
        name.clone().or_latest().to_string(),
        name.repository(),
    ];
    candidates.iter().any(|candidate| glob(pattern.as_bytes(), candidate.as_bytes()))
}

/// `*` and `?` do not match a slash; `[…]` is a set with ranges and `^`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => {
            let reach = text.iter().position(|c| *c == b'/').unwrap_or(text.len());
            (0..=reach).any(|at| glob(rest, &text[at..]))
        }
        [b'?', rest @ ..] => text.first().is_some_and(|c| *c != b'/') && glob(rest, &text[1..]),
        [b'[', rest @ ..] => {
            let Some(end) = rest.iter().position(|c| *c == b']') else { return false };
            let (set, negated) = match &rest[..end] {
                [b'^', set @ ..] => (set, true),
                set => (set, false),
            };
            let Some(c) = text.first() else { return false };
            let ranged = set.windows(3).any(|w| w[1] == b'-' && w[0] <= *c && *c <= w[2]);
            (set.contains(c) || ranged) != negated && glob(&rest[end + 1..], &text[1..])
        }
        [b'\\', literal, rest @ ..] | [literal, rest @ ..] => {
            text.first() == Some(literal) && glob(rest, &text[1..])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_match_as_dockers() {
        for (pattern, name, expected) in [
            ("busybox", "busybox:1.36", true),
            ("busybox:1*", "busybox:1.36", true),
            ("busy*", "busybox:latest", true),
            ("busybox:2", "busybox:1.36", false),
            ("*/app", "team/app:1", true),
            ("*", "team/app:1", false),
            ("docker.io/library/busybox", "busybox:latest", true),
            ("b[a-z]sybox", "busybox:latest", true),
            ("b[^u]sybox", "busybox:latest", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
