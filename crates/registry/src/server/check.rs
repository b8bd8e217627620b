//! Reads everything and tells what is damaged: blobs against their digests, records against what they refer to.

use std::fmt;

use super::digest::Digest;
use super::repository::{Link, Repositories, Result, blob_key};
use super::route::Key;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// A blob, a tag or a manifest.
    pub what: String,
    /// How it is.
    pub how: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.how)
    }
}

pub(crate) async fn check(repositories: &Repositories) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    let mut damage = |what: String, how: String| damages.push(Damage { what, how });
    for algorithm in ["sha256", "sha512"] {
        for entry in repositories.storage.list(&format!("blobs/{algorithm}")).await? {
            let Some(digest) = Digest::from_hex(&entry.name) else {
                damage(format!("blobs/{algorithm}/{}", entry.name), "is no blob".into());
                continue;
            };
            let actual = repositories.storage.digest(&blob_key(&digest), &digest).await?;
            if actual != digest {
                damage(format!("blob {digest}"), format!("its content has digest {actual}"));
            }
        }
    }
    for name in repositories.names().await? {
        let name_text = name.as_str();
        for (digest, _) in repositories.entries(&name, Link::Manifest).await? {
            let what = format!("{name_text}@{digest}");
            let contents = match repositories.contents(&digest).await {
                Ok(contents) => contents,
                Err(refusal) => {
                    damage(what, refusal.to_string());
                    continue;
                }
            };
            for (link, needed) in contents.needs().filter(|(link, d)| *link == Link::Layer && !d.is_foreign())
            {
                let linked = repositories.link(&name, link, &needed.digest).await?.is_some();
                let stat = repositories.storage.stat(&blob_key(&needed.digest)).await?;
                let how = match stat {
                    None => format!("blob {} is missing", needed.digest),
                    Some(stat) if stat.size != needed.size => {
                        format!("blob {} has {} bytes, not {}", needed.digest, stat.size, needed.size)
                    }
                    Some(_) if !linked => format!("blob {} is not of this repository", needed.digest),
                    Some(_) => continue,
                };
                damage(what.clone(), how);
            }
        }
        for (tag, _) in repositories.tags(&name).await? {
            if repositories.resolve(&name, &Key::Tag(tag.clone())).await?.is_none() {
                damage(format!("{name_text}:{tag}"), "it leads to no manifest".into());
            }
        }
    }
    Ok(damages)
}
