//! Tag: one more name for an image.

use spec::Reference;

use crate::blocking::blocking;
use crate::{Engine, Error};

/// `repo` and `tag` as one reference. A digest is no name.
pub(crate) fn reference(repo: &str, tag: &str) -> Result<Reference, Error> {
    let text = if tag.is_empty() { repo.to_owned() } else { format!("{repo}:{tag}") };
    let reference: Reference = text.parse().map_err(|e| Error::Invalid(format!("{e}: {text:?}")))?;
    if reference.digest.is_some() {
        return Err(Error::Invalid("refusing to create a tag with a digest reference".into()));
    }
    Ok(reference.or_latest())
}

impl Engine {
    /// `POST /images/{name}/tag`.
    pub async fn image_tag(&self, name: &str, repo: &str, tag: &str) -> Result<(), Error> {
        let reference = reference(repo, tag)?;
        let target = self.target(name)?;
        let (inner, id, shown) = (self.inner.clone(), target.digest.to_string(), reference.familiar());
        blocking(move || inner.store.tag(&reference, &target)).await?;
        self.image_event("tag", &id, &shown);
        Ok(())
    }
}
