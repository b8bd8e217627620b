//! Images: one file per verb. What an image is, the store knows; here are Docker's rules about names and ids.

mod attestations;
pub(crate) mod change;
mod history;
mod import;
mod inspect;
mod layers;
mod list;
mod load;
mod prune;
mod pull;
mod push;
mod remove;
mod save;
mod search;
mod summary;
pub(crate) mod tag;

use std::collections::BTreeMap;

use spec::api::EventMessage;
use spec::oci::image::Descriptor;
use spec::{Digest, Reference};
use store::ImageRecord;

pub use list::ImageListOptions;

use crate::{Engine, Error, events};

/// The names of one target, as people write them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    /// `busybox:latest`.
    pub(crate) tags: Vec<String>,
    /// `busybox@sha256:…`.
    pub(crate) digests: Vec<String>,
}

impl Names {
    fn of<'a>(records: impl IntoIterator<Item = &'a ImageRecord>) -> Self {
        let mut names = Self::default();
        for record in records.into_iter().filter(|r| !r.is_dangling()) {
            let Ok(reference) = record.name.parse::<Reference>() else { continue };
            let digest = format!("{}@{}", reference.familiar_repository(), record.target.digest);
            if !names.digests.contains(&digest) {
                names.digests.push(digest);
            }
            if reference.tag.is_some() {
                let tagged = Reference { digest: None, ..reference };
                names.tags.push(tagged.familiar());
            }
        }
        names
    }
}

/// An image's `created` in nanoseconds since 1970; 0 when it says none.
fn created_at(config: &spec::oci::image::Image) -> i64 {
    config.created.as_deref().and_then(crate::time::parse_rfc3339).unwrap_or(0).cast_signed()
}

impl Engine {
    /// What a name or id of the user's points at: 404 `No such image`.
    pub(crate) fn target(&self, name: &str) -> Result<Descriptor, Error> {
        self.inner.store.resolve(name).map_err(|error| match error {
            store::Error::NotFound(shown) => Error::NoSuchImage(shown),
            other => other.into(),
        })
    }

    /// All records by target.
    fn by_target(&self) -> BTreeMap<Digest, Vec<ImageRecord>> {
        let mut targets: BTreeMap<Digest, Vec<ImageRecord>> = BTreeMap::new();
        for record in self.inner.store.images() {
            targets.entry(record.target.digest).or_default().push(record);
        }
        targets
    }

    pub(crate) fn image_event(&self, action: &str, id: &str, name: &str) {
        let attributes = [("name".to_owned(), name.to_owned())].into();
        self.publish(image_message(action, id, attributes));
        self.inner.written.notify_one();
    }
}

fn image_message(action: &str, id: &str, attributes: BTreeMap<String, String>) -> EventMessage {
    events::message("image", action, id, attributes)
}
