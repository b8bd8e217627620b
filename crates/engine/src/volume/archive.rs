//! Beyond Docker: a volume as a tar, and a tar as a volume.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use spec::api::{Volume, VolumeCreateRequest};
use store::archive::{Owners, Pack, Unpack, Whiteouts, Writer, pack, pack_one, unpack};
use sys::root::Root;
use tokio::sync::mpsc;

use super::change::check_new_name;
use super::{LOCAL, Meta, Wish, options};
use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error, chunks};

/// The top directory's own entry.
const TOP: &str = "./";

impl Engine {
    /// `GET /volumes/{name}/export`: with the attributes of the top directory. Refused as a copy is.
    pub async fn volume_export(
        &self,
        name: &str,
        force: bool,
    ) -> Result<mpsc::Receiver<Result<Bytes, Error>>, Error> {
        let (content, source, _) = self.read_content("export", name, force).await?;
        Ok(chunks::made_by(move |out| {
            let _held = content;
            let owners = Owners::default();
            let base = Path::new("");
            let how = Pack { base, prefix: base, whiteouts: Whiteouts::Literal, lower: None, owners };
            let mut out = Writer::new(out);
            let (parent, top) = Root::open(source.path.parent().unwrap_or(Path::new("/")))?
                .parent(source.path.file_name().unwrap_or_default())?;
            pack_one(&parent, &top, Path::new(TOP), owners, &mut out)?;
            pack(&Root::open(&source.path)?, &how, &mut out)?;
            out.finish()?;
            Ok(())
        }))
    }

    /// `POST /volumes/import`: a new volume of the local driver with what `tar` (plain or compressed) has. One that cannot
    /// be read to its end leaves nothing.
    pub async fn volume_import(
        &self,
        request: VolumeCreateRequest,
        mut tar: impl Read + Send + 'static,
    ) -> Result<Volume, Error> {
        let VolumeCreateRequest { name, driver_opts, labels, .. } = request;
        check_new_name(&name)?;
        options::check(&driver_opts)?;
        if options::need_mount(&driver_opts) {
            return Err(Error::Invalid(
                "import: a volume with a type and a device has the content of that device".into(),
            ));
        }
        let wish = Wish { name: name.clone(), labels, options: driver_opts, ..Wish::default() };
        let engine = self.clone();
        to_the_end(async move {
            let _name = engine.inner.volumes.uses.name(&name).await;
            engine.check_free("import", &name, &name)?;
            let (inner, owned, meta) = (engine.inner.clone(), name.clone(), Meta::new(wish));
            let made = lasting(move || inner.volumes.create(&owned, meta, |data| put(&mut tar, data))).await;
            let meta = made.map_err(|error| Error::within(format!("import {name}"), error))?;
            engine.volume_event("create", &name, &[("driver", LOCAL.into())]);
            engine.described(&name, &meta, false).await
        })
        .await
    }
}

fn put(tar: &mut (dyn Read + Send), data: &Path) -> Result<(), Error> {
    let (_, inflated) =
        store::inflate(tar).map_err(|source| store::Error::Read { what: "archive", source })?;
    unpack(inflated, &Root::open(data)?, &Unpack::literal())?;
    Ok(sys::file::sync_file_system(data)?)
}
