//! Beyond Docker: a copy of a volume, sharing its blocks where the file system can.

use spec::api::Volume;

use super::change::check_new_name;
use super::uses::Content;
use super::{ANONYMOUS, LOCAL, Meta, Mounted, Wish};
use crate::blocking::{lasting, to_the_end};
use crate::container::mounts::Kind;
use crate::copy::{Place, tree};
use crate::{Engine, Error};

impl Engine {
    /// `POST /volumes/{name}/copy`: a new volume of the local driver with the content and the labels of another one,
    /// whichever driver that has. Refused while a running container writes to it, unless `force`: then a file that
    /// changes meanwhile is copied as it is found.
    pub async fn volume_copy(&self, name: &str, new: &str, force: bool) -> Result<Volume, Error> {
        let (engine, name, new) = (self.clone(), name.to_owned(), new.to_owned());
        to_the_end(async move { engine.copy_now(&name, &new, force).await }).await
    }

    async fn copy_now(&self, name: &str, new: &str, force: bool) -> Result<Volume, Error> {
        check_new_name(new)?;
        let volumes = &self.inner.volumes;
        // Not the other way round: two copies to each other's names would wait for each other.
        let (_content, source, meta) = self.read_content("copy", name, force).await?;
        let _new = volumes.uses.name(new).await;
        self.check_free("copy", name, new)?;
        let mut wish = Wish { name: new.to_owned(), labels: meta.labels.clone(), ..Wish::default() };
        wish.labels.remove(ANONYMOUS);
        if meta.is_plain() {
            wish.options = meta.options;
        }
        let (inner, owned, from) = (self.inner.clone(), new.to_owned(), source.path.clone());
        let made = lasting(move || {
            inner.volumes.create(&owned, Meta::new(wish), |data| {
                tree(&Place::of_host(&from)?, &Place::of_host(data)?)?;
                Ok(sys::file::sync_file_system(data)?)
            })
        })
        .await;
        let released = source.release().await.err();
        let meta = match (made, released) {
            (Ok(meta), None) => meta,
            (Ok(meta), Some(error)) => {
                tracing::warn!(volume = name, "{}", error.message());
                meta
            }
            (Err(error), released) => {
                return Err(Error::within(format!("copy {name}"), Error::first(error, released)));
            }
        };
        self.volume_event("create", new, &[("driver", LOCAL.into())]);
        self.described(new, &meta, false).await
    }

    /// A volume's files, for reading them as a whole: containers that start with it wait meanwhile.
    pub(super) async fn read_content(
        &self,
        verb: &str,
        name: &str,
        force: bool,
    ) -> Result<(Content, Mounted, Meta), Error> {
        let uses = &self.inner.volumes.uses;
        let _name = uses.name(name).await;
        let meta = self.named(name).await?;
        let content = uses.content_now(name)?;
        if !force {
            self.check_still(verb, name)?;
        }
        let source = self.use_named(name, verb).await?;
        Ok((content, source, meta))
    }

    /// Refuses while somebody may write to a volume.
    fn check_still(&self, verb: &str, name: &str) -> Result<(), Error> {
        for container in self.volume_users(name) {
            let view = container.view();
            let writes =
                view.record.mounts.iter().any(|m| m.kind == Kind::Volume && m.name == name && m.writable);
            if writes && view.state.is_alive() {
                return Err(Error::Conflict(format!(
                    "{verb} {name}: the container {:?} ({}) may write to it: stop it, or use force",
                    view.record.name,
                    container.id.short()
                )));
            }
        }
        if self.inner.volumes.uses.is_held(name) {
            return Err(Error::Conflict(format!(
                "{verb} {name}: a container is being made with it: try again"
            )));
        }
        Ok(())
    }
}
