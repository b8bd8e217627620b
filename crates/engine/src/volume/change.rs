//! Beyond Docker: another name for a volume, and other labels and another size.

use spec::api::{Volume, VolumeChanges};

use super::{Meta, options};
use crate::blocking::{blocking, to_the_end};
use crate::container::check_volume_name;
use crate::{Engine, Error};

impl Engine {
    /// `POST /volumes/{name}/rename`: of the local driver's, while no container has it.
    pub async fn volume_rename(&self, name: &str, new: &str) -> Result<(), Error> {
        let (engine, name, new) = (self.clone(), name.to_owned(), new.to_owned());
        to_the_end(async move { engine.rename_now(&name, &new).await }).await
    }

    async fn rename_now(&self, name: &str, new: &str) -> Result<(), Error> {
        check_new_name(new)?;
        if name == new {
            return Err(Error::Invalid("Renaming a volume with the same name as its current name".into()));
        }
        let volumes = &self.inner.volumes;
        let _names = volumes.uses.names(name, new).await;
        let meta = self.named(name).await?;
        if !meta.is_local() {
            return Err(Error::NotImplemented(format!(
                "rename {name}: volume plugins have no rename (driver {:?})",
                meta.driver
            )));
        }
        self.check_unused("rename", name)?;
        let _content = volumes.uses.content_now(name)?;
        self.check_free("rename", name, new)?;
        let (inner, old, moved) = (self.inner.clone(), name.to_owned(), new.to_owned());
        blocking(move || inner.volumes.rename(&old, &moved)).await?;
        self.volume_event("rename", new, &[("driver", meta.driver), ("oldName", name.to_owned())]);
        Ok(())
    }

    /// Refuses when a new name is taken.
    pub(super) fn check_free(&self, verb: &str, name: &str, new: &str) -> Result<(), Error> {
        if self.inner.volumes.get(new).is_some() {
            return Err(Error::Conflict(format!(
                "{verb} {name}: there is a volume {new:?} already: remove it, or take another name"
            )));
        }
        Ok(())
    }

    /// `POST /volumes/{name}/update`: all of the changes, or none.
    pub async fn volume_update(&self, name: &str, changes: VolumeChanges) -> Result<Volume, Error> {
        let (engine, name) = (self.clone(), name.to_owned());
        to_the_end(async move {
            let _name = engine.inner.volumes.uses.name(&name).await;
            let before = engine.named(&name).await?;
            let meta =
                apply(&before, &changes).map_err(|error| Error::within(format!("update {name}"), error))?;
            let (inner, owned, changed) = (engine.inner.clone(), name.clone(), meta.clone());
            blocking(move || -> Result<(), Error> {
                if let Some(size) = options::size(&changed.options)?.filter(|_| changes.size.is_some()) {
                    sys::quota::change(&inner.volumes.data(&owned)?, size)?;
                }
                inner.volumes.record(&owned, changed)
            })
            .await?;
            engine.volume_event("update", &name, &[("driver", meta.driver.clone())]);
            engine.described(&name, &meta, true).await
        })
        .await
    }
}

/// A name for a new volume of ours; it must have one.
pub(super) fn check_new_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::Invalid("a volume needs a name".into()));
    }
    check_volume_name(name)
}

/// What a volume is after its changes.
fn apply(meta: &Meta, changes: &VolumeChanges) -> Result<Meta, Error> {
    let mut meta = meta.clone();
    for gone in &changes.labels.remove {
        if meta.labels.remove(gone).is_none() {
            return Err(Error::Invalid(format!("the volume has no label {gone:?}")));
        }
    }
    if changes.labels.add.contains_key("") {
        return Err(Error::Invalid("invalid label: its name is empty".into()));
    }
    meta.labels.extend(changes.labels.add.clone());
    if let Some(size) = &changes.size {
        if !meta.is_plain() || options::size(&meta.options)?.is_none() {
            return Err(Error::Conflict(
                "the volume was made without a size, and cannot be given one: only an empty directory takes a limit"
                    .into(),
            ));
        }
        meta.options.insert("size".into(), size.clone());
        if options::size(&meta.options)?.is_none() {
            return Err(Error::Invalid(format!("invalid size: '{size}'")));
        }
    }
    Ok(meta)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::Wish;

    #[test]
    fn changes_are_whole_or_refused() {
        let wish = Wish {
            labels: [("a".to_owned(), "1".to_owned())].into(),
            options: [("size".to_owned(), "1m".to_owned())].into(),
            ..Wish::default()
        };
        let meta = Meta::new(wish);
        let mut changes = VolumeChanges::default();
        changes.labels.remove = vec!["a".into()];
        changes.labels.add = [("b".to_owned(), "2".to_owned())].into();
        changes.size = Some("2m".into());
        let changed = apply(&meta, &changes).unwrap();
        assert_eq!(changed.labels, [("b".to_owned(), "2".to_owned())].into());
        assert_eq!(changed.options["size"], "2m");
        for refused in [
            VolumeChanges { size: Some("0".into()), ..VolumeChanges::default() },
            VolumeChanges { size: Some("much".into()), ..VolumeChanges::default() },
        ] {
            assert!(apply(&meta, &refused).is_err());
        }
        let plain = Meta::new(Wish::default());
        let error = apply(&plain, &changes).unwrap_err().to_string();
        assert_eq!(error, "the volume has no label \"a\"");
        let sized = VolumeChanges { size: Some("1m".into()), ..VolumeChanges::default() };
        assert!(matches!(apply(&plain, &sized), Err(Error::Conflict(_))));
    }
}
