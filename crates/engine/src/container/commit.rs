//! Commit: a container's changes become a layer, and the layer on the container's image a new image.

use std::path::PathBuf;
use std::sync::Arc;

use shim::proto::Request;
use spec::Digest;
use spec::api::ContainerConfig;
use spec::oci::image::{Descriptor, History, Image, ImageConfig, Platform};

use super::record::Record;
use super::state::Phase;
use super::{Container, diff, has_ended};
use crate::blocking::{lasting, to_the_end};
use crate::engine::Inner;
use crate::image::{change, tag};
use crate::{Engine, Error, time};

/// `POST /commit`.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    /// The image's name; empty for none.
    pub repo: String,
    /// Its tag; empty for `latest`.
    pub tag: String,
    /// Said in the history.
    pub comment: String,
    /// Empty for the author of the container's image.
    pub author: String,
    /// The container stands still meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// In place of the container's configuration, which fills in what it leaves open.
    pub config: Option<ContainerConfig>,
}

impl Engine {
    /// Makes an image; returns its id.
    pub async fn commit(&self, id: &str, options: CommitOptions) -> Result<Digest, Error> {
        let container = self.inner.containers.find(id)?;
        let engine = self.clone();
        to_the_end(async move { engine.commit_now(&container, options).await }).await
    }

    async fn commit_now(&self, container: &Arc<Container>, options: CommitOptions) -> Result<Digest, Error> {
        let name =
            if options.repo.is_empty() { None } else { Some(tag::reference(&options.repo, &options.tag)?) };
        let record = container.view().record.clone();
        let config = configuration(&record, &options)?;
        // Nothing starts, ends or removes it meanwhile.
        let _verbs = container.verbs.lock().await;
        let refused =
            |what| Error::Conflict(format!("You cannot commit container {} which is {what}", container.id));
        match container.view().state.phase {
            Phase::Dead => return Err(refused("Dead")),
            Phase::Removing => return Err(refused("being removed")),
            Phase::Created | Phase::Running | Phase::Paused | Phase::Restarting | Phase::Exited => {}
        }
        let paused = if options.pause && container.view().state.phase == Phase::Running {
            let link = container.running_link()?;
            match link.call(Request::Pause, Vec::new()).await {
                Ok(_) => {
                    self.publish(container.event("pause", &[]));
                    Some(link)
                }
                // What has ended holds still.
                Err(error) if has_ended(&error) => None,
                Err(error) => return Err(error.into()),
            }
        } else {
            None
        };
        let (inner, named) = (self.inner.clone(), name.clone());
        let (author, comment) = (options.author.clone(), options.comment.clone());
        let made = lasting(move || -> Result<Descriptor, Error> {
            let _lease = inner.store.lease("commit")?;
            let target = inner.commit(&record, config, &author, &comment)?;
            match &named {
                Some(name) => inner.store.tag(name, &target)?,
                None => inner.store.keep_dangling(&target)?,
            }
            Ok(target)
        })
        .await;
        if let Some(link) = paused {
            let resumed = link.call(Request::Resume, Vec::new()).await;
            self.publish(container.event("unpause", &[]));
            if let Err(error) = resumed
                && !has_ended(&error)
            {
                return Err(made.err().map_or(error.into(), |first| first));
            }
        }
        let target = made?;
        let (id, shown) = (target.digest.to_string(), name.map_or_else(String::new, |n| n.familiar()));
        if !shown.is_empty() {
            self.image_event("tag", &id, &shown);
        }
        let facts = [("comment", options.comment), ("imageID", id), ("imageRef", shown)];
        self.publish(container.event("commit", &facts));
        Ok(target.digest)
    }
}

impl Inner {
    fn commit(
        &self,
        record: &Record,
        config: ImageConfig,
        author: &str,
        comment: &str,
    ) -> Result<Descriptor, Error> {
        let parent = self.store.image(&record.manifest, &Platform::host())?;
        let stubs: Vec<PathBuf> = diff::mount_points(record);
        let layer = self.store.rw_snapshot(record.id.as_str(), &stubs)?;
        let mut layers = parent.manifest.layers;
        let created = time::rfc3339(time::now());
        let author = if author.is_empty() { parent.config.author.clone() } else { author.to_owned() };
        let mut image =
            Image { created: Some(created.clone()), author: author.clone(), config, ..parent.config };
        image.comment = comment.to_owned();
        image.history.push(History {
            created: Some(created),
            created_by: record.config.cmd.join(" "),
            author,
            comment: comment.to_owned(),
            empty_layer: layer.is_none(),
        });
        if let Some(layer) = layer {
            image.rootfs.diff_ids.push(layer.diff_id);
            layers.push(layer.blob);
        }
        Ok(self.store.put_image(&image, &layers)?)
    }
}

/// What a container of the new image starts with: what the request says, with its changes, over what this container
/// started with.
fn configuration(record: &Record, options: &CommitOptions) -> Result<ImageConfig, Error> {
    let own = image_config(&record.config);
    let mut config = options.config.as_ref().map_or_else(|| own.clone(), image_config);
    change::apply(&mut config, &options.changes)?;
    fill(&mut config, own);
    Ok(config)
}

fn image_config(config: &ContainerConfig) -> ImageConfig {
    ImageConfig {
        user: config.user.clone(),
        exposed_ports: config.exposed_ports.clone(),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone(),
        cmd: config.cmd.clone(),
        volumes: config.volumes.clone(),
        working_dir: config.working_dir.clone(),
        labels: config.labels.clone(),
        stop_signal: config.stop_signal.clone().unwrap_or_default(),
        args_escaped: config.args_escaped.unwrap_or_default(),
        healthcheck: config.healthcheck.clone(),
        on_build: config.on_build.clone(),
        shell: config.shell.clone(),
    }
}

/// Takes from `own` what `config` leaves open. A command belongs to its entrypoint: it is taken only without another one.
fn fill(config: &mut ImageConfig, own: ImageConfig) {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in own.env {
        if !config.env.iter().any(|v| name(v) == name(&variable)) {
            config.env.push(variable);
        }
    }
    for (port, empty) in own.exposed_ports {
        config.exposed_ports.entry(port).or_insert(empty);
    }
    for (volume, empty) in own.volumes {
        config.volumes.entry(volume).or_insert(empty);
    }
    for (key, value) in own.labels {
        config.labels.entry(key).or_insert(value);
    }
    if config.entrypoint.is_empty() {
        if config.cmd.is_empty() {
            config.cmd = own.cmd;
        }
        config.entrypoint = own.entrypoint;
    }
    for (field, theirs) in [
        (&mut config.user, own.user),
        (&mut config.working_dir, own.working_dir),
        (&mut config.stop_signal, own.stop_signal),
    ] {
        if field.is_empty() {
            *field = theirs;
        }
    }
    config.healthcheck = config.healthcheck.take().or(own.healthcheck);
    for (field, theirs) in [(&mut config.on_build, own.on_build), (&mut config.shell, own.shell)] {
        if field.is_empty() {
            *field = theirs;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::testing;

    #[test]
    fn the_container_fills_in_what_the_request_leaves_open() {
        let mut record = testing::record();
        record.config.cmd = vec!["sleep".into(), "9".into()];
        record.config.env = vec!["A=1".into(), "B=2".into()];
        record.config.working_dir = "/w".into();
        let changes = |changes: &[&str], config| {
            let changes = changes.iter().map(|c| (*c).to_owned()).collect();
            configuration(&record, &CommitOptions { changes, config, ..CommitOptions::default() }).unwrap()
        };
        let kept = changes(&["ENV B=3", "WORKDIR sub"], None);
        assert_eq!((kept.cmd.join(" "), kept.env), ("sleep 9".into(), vec!["A=1".into(), "B=3".into()]));
        assert_eq!(kept.working_dir, "/w/sub");
        let entry = changes(&["ENTRYPOINT [\"run\"]"], None);
        assert!(entry.cmd.is_empty(), "{:?}", entry.cmd);
        let body = ContainerConfig { env: vec!["A=9".into()], ..ContainerConfig::default() };
        let merged = changes(&[], Some(body));
        assert_eq!((merged.env, merged.cmd.len()), (vec!["A=9".to_owned(), "B=2".into()], 2));
    }
}
