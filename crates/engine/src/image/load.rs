//! Load: the images of a tar, and the image that ships inside Corten.

use std::io::Read;

use spec::Reference;
use spec::api::{Platform, Progress};
use store::{Image, MemberKind, Step};
use tokio::sync::mpsc;

use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error};

impl Engine {
    /// `POST /images/load`: names what came in, and says so (`Loaded image: x`); unless `quiet`, layer by layer before.
    pub async fn load(
        &self,
        tar: impl Read + Send + 'static,
        platforms: Vec<Platform>,
        quiet: bool,
        progress: mpsc::Sender<Progress>,
    ) -> Result<(), Error> {
        let engine = self.clone();
        let told = if quiet { None } else { Some(progress.clone()) };
        let lines = to_the_end(async move { engine.load_from(tar, platforms, told).await }).await?;
        for line in lines {
            // Progress for nobody is dropped: the images are loaded.
            let _ = progress.send(Progress::stream(format!("{line}\n"))).await;
        }
        Ok(())
    }

    /// Reads images in, unpacks them, and names them last: a load that fails has loaded nothing.
    pub(super) async fn load_from(
        &self,
        mut tar: impl Read + Send + 'static,
        platforms: Vec<Platform>,
        told: Option<mpsc::Sender<Progress>>,
    ) -> Result<Vec<String>, Error> {
        let inner = self.inner.clone();
        let loaded = lasting(move || -> Result<_, Error> {
            let _lease = inner.store.lease("load")?;
            let loaded = inner.store.load(&mut tar, &platforms)?;
            // Images for other platforms only are kept packed.
            let wanted = if platforms.is_empty() { vec![Platform::host()] } else { platforms };
            let mut images: Vec<Image> = Vec::new();
            for (_, target) in &loaded {
                let members = inner.store.members(target)?.into_iter();
                let members = members.filter(|m| m.kind == MemberKind::Image && m.is_whole);
                images.extend(
                    members.filter(|m| wanted.iter().any(|p| p.matches(&m.platform))).filter_map(|m| m.image),
                );
            }
            inner.store.unpack_images(&images, &|step| {
                if let Some(told) = &told {
                    // As above.
                    let _ = told.blocking_send(line(step));
                }
            })?;
            for (name, target) in &loaded {
                match name {
                    Some(name) => inner.store.tag(name, target)?,
                    None => inner.store.keep_dangling(target)?,
                }
            }
            Ok(loaded)
        })
        .await;
        let loaded = self.swept(loaded).await?;
        let mut lines = Vec::new();
        for (name, target) in loaded {
            let id = target.digest.to_string();
            let shown = name.map(|n| n.or_latest().familiar());
            self.image_event("load", &id, shown.as_deref().unwrap_or(&id));
            lines.push(match shown {
                Some(name) => format!("Loaded image: {name}"),
                None => format!("Loaded image ID: {id}"),
            });
        }
        Ok(lines)
    }

    /// Loads the built-in image if `name` is its name; `false` when it is not.
    pub(crate) async fn load_built_in(&self, name: &str) -> Result<bool, Error> {
        let Some((own, tar)) = self.inner.config.built_in else { return Ok(false) };
        let full = |text: &str| text.parse::<Reference>().map(Reference::or_latest).ok();
        let wanted = full(name).is_some_and(|name| Some(name) == full(own));
        if wanted {
            self.load_from(tar, Vec::new(), None).await?;
        }
        Ok(wanted)
    }
}

/// What a client sees of a layer.
fn line(step: Step) -> Progress {
    let (digest, done, size) = match step {
        Step::Begun(digest, size) => (digest, 0, size),
        Step::Done(digest, size) => (digest, size, size),
    };
    Progress::of(digest.short(), "Loading layer").bytes(done, size)
}
