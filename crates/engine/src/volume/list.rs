//! List: ours, and what each plugin says it has.

use std::collections::{BTreeMap, BTreeSet};

use spec::Filters;
use spec::api::{Volume, VolumeListResponse};

use super::LOCAL;
use super::inspect::with_told;
use crate::container::list::pattern_matches;
use crate::{Engine, Error};

impl Engine {
    /// The names of the drivers that have been met.
    pub(crate) fn volume_drivers(&self) -> Vec<String> {
        let mut names = self.inner.volumes.plugins.names();
        names.push(LOCAL.into());
        names.sort();
        names
    }

    /// `GET /volumes`. A plugin that fails is a warning, and its volumes are shown as far as they are known.
    pub async fn volumes(&self, filters: &Filters) -> Result<VolumeListResponse, Error> {
        if let Some(bad) = filters.get("dangling").iter().find(|word| !is_boolean(word)) {
            return Err(Error::Invalid(format!("invalid filter 'dangling=[{bad}]'")));
        }
        let asks = |driver: &str| filters.any("driver", |wanted| wanted == driver);
        let known = self.inner.volumes.all();
        let mut volumes: Vec<Volume> =
            known.iter().map(|(name, meta)| self.inner.volumes.api(name, meta)).collect();
        let mut warnings = Vec::new();
        let elsewhere = known.iter().any(|(_, meta)| !meta.is_local() && asks(&meta.driver));
        if elsewhere || filters.get("driver").is_empty() || filters.get("driver").iter().any(|d| d != LOCAL) {
            warnings = self.add_plugins(&mut volumes, asks).await;
        }
        let passes = |volume: &Volume| {
            let dangling = || self.volume_users(&volume.name).is_empty();
            filters.any("name", |wanted| pattern_matches(wanted, &volume.name))
                && asks(&volume.driver)
                && filters.labels("label", &volume.labels)
                && filters.any("dangling", |wanted| is_true(wanted) == dangling())
        };
        volumes.retain(passes);
        volumes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(VolumeListResponse { volumes, warnings })
    }

    /// Replaces what is recorded of plugins' volumes by what the plugins say. A name that is another driver's stays
    /// that one's. Returns warnings.
    async fn add_plugins(&self, volumes: &mut Vec<Volume>, asks: impl Fn(&str) -> bool) -> Vec<String> {
        let mut warnings = Vec::new();
        let plugins = self.inner.volumes.plugins.all().await;
        let present: BTreeSet<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let lost: BTreeSet<&str> = volumes.iter().map(|volume| volume.driver.as_str()).collect();
        for driver in lost.into_iter().filter(|d| *d != LOCAL && !present.contains(d) && asks(d)) {
            warnings.push(format!("list {driver}: the plugin does not answer: its volumes may not be there"));
        }
        let asked = plugins.iter().filter(|plugin| asks(&plugin.name)).map(|plugin| async move {
            let listed = plugin.list().await;
            (plugin, if listed.is_ok() { plugin.scope().await } else { LOCAL.into() }, listed)
        });
        for (plugin, scope, listed) in futures_util::future::join_all(asked).await {
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    warnings.push(format!("list {}: {}", plugin.name, error.message()));
                    continue;
                }
            };
            let recorded: Vec<Volume> =
                volumes.extract_if(.., |volume| volume.driver == plugin.name).collect();
            for told in listed {
                if volumes.iter().any(|volume| volume.name == told.name) {
                    continue;
                }
                let of_record = recorded.iter().find(|volume| volume.name == told.name).cloned();
                let mut volume = of_record.unwrap_or_else(|| Volume {
                    name: told.name.clone(),
                    driver: plugin.name.clone(),
                    created_at: spec::api::ZERO_TIME.into(),
                    ..Volume::default()
                });
                volume.scope.clone_from(&scope);
                with_told(&mut volume, told);
                volume.status.clear();
                volumes.push(volume);
            }
        }
        warnings
    }
}

/// A boolean of a filter, as Go's `strconv.ParseBool` reads it.
pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

pub(crate) fn is_boolean(text: &str) -> bool {
    is_true(text) || matches!(text, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// Whether a `label!` filter excludes something with these labels.
pub(crate) fn excluded(filters: &Filters, labels: &BTreeMap<String, String>) -> bool {
    filters.get("label!").iter().any(|unwanted| match unwanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|v| v == value),
        None => labels.contains_key(unwanted),
    })
}
