//! List: one line per target, with all its names.

use spec::Filters;
use spec::api::{ImageSummary, Platform};
use spec::{Digest, Reference};
use store::{Image, Store};

use super::{Names, created};
use crate::blocking::lasting;
use crate::volume::{excluded, is_true};
use crate::{Engine, Error};

/// Bytes of an image: its compressed content and its unpacked layers, as Docker's containerd store counts them.
pub(super) fn size(store: &Store, image: &Image) -> u64 {
    let blobs = image.manifest.layers.iter().chain([&image.manifest.config, &image.manifest_descriptor]);
    let content: u64 = blobs.filter_map(|blob| store.blob_size(&blob.digest)).sum();
    let unpacked = image.chain.and_then(|chain| store.chain_size(&chain).ok()).unwrap_or(0);
    content + unpacked
}

impl Engine {
    /// `GET /images/json`, the newest first. Images without a name are listed with `all`, or when asked for.
    pub async fn images(&self, all: bool, filters: &Filters) -> Result<Vec<ImageSummary>, Error> {
        let dangling = filters.get("dangling").iter().map(|v| is_true(v)).next_back();
        let bounds = self.image_bounds(filters)?;
        let until = crate::container::until(filters)?;
        let targets = self.by_target();
        let users: Vec<Digest> = self.inner.containers.all().iter().map(|c| c.view().record.image).collect();
        let (inner, filters) = (self.inner.clone(), filters.clone());
        let mut lines = lasting(move || {
            let mut lines = Vec::new();
            for (digest, records) in targets {
                let names = Names::of(&records);
                let nameless = records.iter().all(store::ImageRecord::is_dangling);
                let wanted = match dangling {
                    Some(dangling) => dangling == nameless,
                    None => all || !nameless || !filters.get("reference").is_empty(),
                };
                let patterns = filters.any("reference", |pattern| {
                    names.tags.iter().chain(&names.digests).any(|name| matches(pattern, name))
                });
                if !wanted || !patterns {
                    continue;
                }
                // One without content for this host is listed with what is known of it.
                let image = inner.store.image(&records[0].target, &Platform::host()).ok();
                let labels = image.as_ref().map(|i| i.config.config.labels.clone()).unwrap_or_default();
                if !filters.labels("label", &labels) || excluded(&filters, &labels) {
                    continue;
                }
                let created = image.as_ref().map_or(0, |i| created(&i.config));
                let old = until.is_none_or(|u| created <= (u / 1_000_000_000).cast_signed());
                if !bounds.contains(created) || !old {
                    continue;
                }
                let count = users.iter().filter(|user| **user == digest).count();
                lines.push(ImageSummary {
                    id: digest.to_string(),
                    repo_tags: names.tags,
                    repo_digests: names.digests,
                    created,
                    size: image.as_ref().map_or(0, |i| size(&inner.store, i)).cast_signed(),
                    shared_size: -1,
                    labels,
                    containers: i64::try_from(count).unwrap_or(i64::MAX),
                    descriptor: Some(records[0].target.clone()),
                    ..ImageSummary::default()
                });
            }
            lines
        })
        .await;
        lines.sort_by_key(|line| std::cmp::Reverse(line.created));
        Ok(lines)
    }

    /// The `before` and `since` filters: created before or after another image.
    fn image_bounds(&self, filters: &Filters) -> Result<Bounds, Error> {
        let at = |name: &String| -> Result<i64, Error> {
            let image = self.inner.store.image(&self.target(name)?, &Platform::host())?;
            Ok(created(&image.config))
        };
        let times = |key: &str| filters.get(key).iter().map(at).collect::<Result<Vec<_>, _>>();
        Ok(Bounds { before: times("before")?.into_iter().min(), after: times("since")?.into_iter().max() })
    }

    /// The image ids that `ancestor` filters mean: those named, and all whose layers begin with theirs.
    pub(crate) async fn ancestors(&self, filters: &Filters) -> Vec<Digest> {
        let wanted: Vec<_> = filters.get("ancestor").iter().filter_map(|n| self.target(n).ok()).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let used: std::collections::BTreeMap<Digest, _> = self
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

struct Bounds {
    before: Option<i64>,
    after: Option<i64>,
}

impl Bounds {
    fn contains(&self, at: i64) -> bool {
        self.before.is_none_or(|before| at < before) && self.after.is_none_or(|after| at > after)
    }
}

/// Whether a `reference` filter means a name: `busybox`, `busybox:1*`, `*/app`, with Go's `path.Match` wildcards.
fn matches(pattern: &str, name: &str) -> bool {
    let repository = match name.split_once('@') {
        Some((repository, _)) => repository,
        None => name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')).map_or(name, |(r, _)| r),
    };
    let full = |name: &str| name.parse::<Reference>().map(|r| r.to_string()).unwrap_or_default();
    let candidates = [name.to_owned(), repository.to_owned(), full(name), full(repository)];
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
