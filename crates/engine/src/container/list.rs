//! List: `ps` and its filters.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use regex_lite::Regex;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use spec::api::{
    ContainerSummary, EndpointSettings, PortSummary, SummaryHealth, SummaryHostConfig, SummaryNetworkSettings,
};
use spec::{Digest, Filters};

use super::record::Record;
use super::state::Phase;
use super::{Container, View, health, ports, status};
use crate::{Engine, Error, time};

/// `GET /containers/json`.
#[derive(Debug, Clone, Default)]
pub struct ListOptions {
    /// Stopped ones too.
    pub all: bool,
    /// The newest so many; 0 or less is all.
    pub limit: i64,
    /// Fill in sizes.
    pub size: bool,
    /// Filters.
    pub filters: Filters,
}

/// One container of a list, as JSON.
#[derive(Debug, Clone)]
pub struct Line(Arc<RawValue>);

impl Line {
    fn of(summary: &ContainerSummary) -> Self {
        Self(serde_json::value::to_raw_value(summary).expect("API objects have string keys").into())
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

/// The line that a running container was last listed with: a list of a thousand is mostly what it was a moment ago.
#[derive(Debug, Default)]
pub(crate) struct LastLine(Mutex<Option<Kept>>);

/// A line, and what it was made of.
#[derive(Debug)]
struct Kept {
    view: Arc<View>,
    image: String,
    status: String,
    line: Line,
}

impl LastLine {
    /// The same line again if it would say the same; otherwise what `make` makes.
    fn get(
        &self,
        view: &Arc<View>,
        image: &str,
        status: &str,
        make: impl FnOnce() -> ContainerSummary,
    ) -> Line {
        let mut last = self.0.lock().expect("no holder of this lock can panic");
        if let Some(kept) = &*last
            && Arc::ptr_eq(&kept.view, view)
            && kept.image == image
            && kept.status == status
        {
            return kept.line.clone();
        }
        let line = Line::of(&make());
        // What is shown of one that does not run depends on networks that may come and go.
        *last = view.state.is_alive().then(|| Kept {
            view: view.clone(),
            image: image.to_owned(),
            status: status.to_owned(),
            line: line.clone(),
        });
        line
    }
}

impl Engine {
    /// `GET /containers/json`, the newest first.
    pub async fn containers(&self, options: ListOptions) -> Result<Vec<ContainerSummary>, Error> {
        let chosen = self.chosen(&options).await?;
        let (now, mut images, mut answer) = (time::now(), HashMap::new(), Vec::new());
        for (container, view) in &chosen {
            let image = self.shown_image(&view.record, &mut images);
            let mut line = summary(view, self.networks_of(view), image, status::text(&view.state, now));
            if options.size {
                // One that is removed meanwhile has no size.
                if let Ok((rw, all)) = self.sizes(container).await {
                    (line.size_rw, line.size_root_fs) = (Some(rw), Some(all));
                }
            }
            answer.push(line);
        }
        Ok(answer)
    }

    /// The same for who wants nothing but the JSON.
    pub async fn container_lines(&self, options: ListOptions) -> Result<Vec<Line>, Error> {
        if options.size {
            return Ok(self.containers(options).await?.iter().map(Line::of).collect());
        }
        let chosen = self.chosen(&options).await?;
        let (now, mut images, mut lines) = (time::now(), HashMap::new(), Vec::new());
        for (container, view) in &chosen {
            let image = self.shown_image(&view.record, &mut images);
            let status = status::text(&view.state, now);
            let made = || summary(view, self.networks_of(view), image, status.clone());
            lines.push(container.last_line.get(view, image, &status, made));
        }
        Ok(lines)
    }

    /// The containers that are asked for, the newest first.
    async fn chosen(&self, options: &ListOptions) -> Result<Vec<(Arc<Container>, Arc<View>)>, Error> {
        let filters = &options.filters;
        let limit = usize::try_from(options.limit).unwrap_or(0);
        let all = options.all
            || limit > 0
            || !filters.get("status").is_empty()
            || !filters.get("exited").is_empty();
        let bounds = self.bounds(filters)?;
        let images = self.ancestors(filters).await;
        let mut found: Vec<(Arc<Container>, Arc<View>)> =
            self.inner.containers.all().into_iter().map(|c| (c.clone(), c.view())).collect();
        found.sort_by_key(|(_, view)| std::cmp::Reverse(view.record.created_at));
        let mut chosen = Vec::new();
        for (container, view) in found {
            if limit > 0 && chosen.len() == limit {
                break;
            }
            if (all || is_running(&view))
                && bounds.contains(view.record.created_at)
                && (filters.is_empty() || passes(&view, &self.networks_of(&view), filters, &images)?)
            {
                chosen.push((container, view));
            }
        }
        Ok(chosen)
    }

    /// What it was made of: the name that was given, while that means this image; later the image's id. `shown` are those asked for
    /// already: a thousand containers are made of a few images.
    fn shown_image<'s, 'r>(
        &self,
        record: &'r Record,
        shown: &'s mut HashMap<(&'r str, Digest), String>,
    ) -> &'s str {
        let named = &record.config.image;
        shown.entry((named, record.image)).or_insert_with(|| match self.inner.store.resolve(named) {
            Ok(target) if target.digest == record.image => named.clone(),
            Ok(_) | Err(_) => record.image.to_string(),
        })
    }

    /// The `before` and `since` filters: created before or after another container.
    fn bounds(&self, filters: &Filters) -> Result<Bounds, Error> {
        let mut bounds = Bounds { after: None, before: None };
        for name in filters.get("before") {
            let at = self.inner.containers.find(name)?.view().record.created_at;
            bounds.before = Some(bounds.before.map_or(at, |b| b.min(at)));
        }
        for name in filters.get("since") {
            let at = self.inner.containers.find(name)?.view().record.created_at;
            bounds.after = Some(bounds.after.map_or(at, |a| a.max(at)));
        }
        Ok(bounds)
    }
}

struct Bounds {
    after: Option<u64>,
    before: Option<u64>,
}

impl Bounds {
    fn contains(&self, at: u64) -> bool {
        self.after.is_none_or(|after| at > after) && self.before.is_none_or(|before| at < before)
    }
}

/// As `State.Running` of inspect says it.
fn is_running(view: &View) -> bool {
    matches!(view.state.phase, Phase::Running | Phase::Paused | Phase::Restarting)
}

/// Whether a container passes the filters that look at it alone. `images`: ids the `ancestor` filter means.
fn passes(
    view: &View,
    networks: &BTreeMap<String, EndpointSettings>,
    filters: &Filters,
    images: &[spec::Digest],
) -> Result<bool, Error> {
    let record = &view.record;
    let config = &record.config;
    for code in filters.get("exited") {
        code.parse::<i32>().map_err(|_| Error::Invalid(format!("invalid filter 'exited={code}'")))?;
    }
    const STATES: [&str; 7] = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
    if let Some(bad) = filters.get("status").iter().find(|s| !STATES.contains(&s.as_str())) {
        return Err(Error::Invalid(format!("invalid filter 'status={bad}'")));
    }
    const HEALTH: [&str; 4] = ["none", "starting", "healthy", "unhealthy"];
    if let Some(bad) = filters.get("health").iter().find(|h| !HEALTH.contains(&h.as_str())) {
        return Err(Error::Invalid(format!(
            "invalid filter 'health={bad}': invalid value for health ({bad}): must be one of {}",
            HEALTH.join(", ")
        )));
    }
    // As in Docker: `publish` means the host's port, and the two keys are alternatives.
    let shown = ports::summary(config, &view.network.ports);
    let mut has_port = filters.get("publish").is_empty() && filters.get("expose").is_empty();
    for key in ["publish", "expose"] {
        let side = |port: &PortSummary| if key == "publish" { port.public_port } else { port.private_port };
        for text in filters.get(key) {
            if text.contains(':') {
                return Err(Error::Invalid(format!("filter for '{key}' should not contain ':': {text}")));
            }
            let ports = shown.iter().map(|p| (side(p), p.r#type.clone()));
            has_port |= ports::filter_matches(text, ports)
                .map_err(|error| Error::within(format!("error while looking up for {key} {text}"), error))?;
        }
    }
    let name_matches = |wanted: &str| {
        let name = &record.name;
        pattern_matches(wanted, name) || pattern_matches(wanted, &format!("/{name}"))
    };
    let state = view.state.word();
    let ended = view.state.finished_at != 0 && !view.state.is_alive();
    Ok(has_port
        && filters.any("id", |wanted| record.id.as_str().starts_with(wanted))
        && filters.any("name", name_matches)
        && filters.any("status", |wanted| wanted == state)
        && filters.any("exited", |code| ended && code == view.state.exit_code.to_string())
        && filters.labels("label", &config.labels)
        && filters.any("network", |wanted| {
            networks.iter().any(|(name, s)| {
                name == wanted || (!s.network_id.is_empty() && s.network_id.starts_with(wanted))
            })
        })
        && filters.any("volume", |wanted| {
            record.mounts.iter().any(|m| m.name == wanted || m.source == wanted || m.destination == wanted)
        })
        && filters.any("health", |wanted| wanted == health::word(view.state.health.as_ref()))
        && filters.any("is-task", |wanted| !crate::volume::is_true(wanted))
        && filters.any("isolation", |wanted| matches!(wanted, "" | "default"))
        && filters.any("ancestor", |wanted| {
            images.contains(&record.image)
                || record.config.image == wanted
                || record.image.to_string() == wanted
        }))
}

/// A name filter: the name itself, or a regular expression. One that is none matches nothing, as in Docker.
pub(crate) fn pattern_matches(pattern: &str, name: &str) -> bool {
    pattern == name || Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(name))
}

fn summary(
    view: &View,
    networks: BTreeMap<String, EndpointSettings>,
    image: &str,
    status: String,
) -> ContainerSummary {
    let record = &view.record;
    ContainerSummary {
        id: record.id.to_string(),
        names: vec![format!("/{}", record.name)],
        image: image.to_owned(),
        image_id: record.image.to_string(),
        image_manifest_descriptor: Some(record.manifest.clone()),
        command: command(&record.command()),
        created: (record.created_at / 1_000_000_000).cast_signed(),
        ports: if view.state.is_alive() {
            ports::summary(&record.config, &view.network.ports)
        } else {
            Vec::new()
        },
        labels: record.config.labels.clone(),
        state: view.state.word().into(),
        status,
        host_config: SummaryHostConfig {
            network_mode: if record.host.network_mode.is_empty() {
                "bridge".into()
            } else {
                record.host.network_mode.clone()
            },
            annotations: record.host.annotations.clone(),
        },
        network_settings: SummaryNetworkSettings { networks },
        mounts: record.shown_mounts(),
        health: Some(SummaryHealth {
            status: health::word(view.state.health.as_ref()).into(),
            failing_streak: view.state.health.as_ref().map_or(0, |h| h.failing_streak).into(),
        }),
        ..ContainerSummary::default()
    }
}

/// The command as one line: arguments with spaces in quotes, as Docker shows it. It is for people: nothing is escaped.
fn command(words: &[String]) -> String {
    let quoted = words.iter().enumerate().map(|(index, word)| {
        if index > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::inspect;
    use crate::container::state::State;
    use crate::container::testing;

    fn filtered(pairs: &[(&str, &str)]) -> bool {
        let mut filters = Filters::default();
        pairs.iter().for_each(|(k, v)| filters.add(*k, *v));
        let mut view = testing::view();
        let record = Arc::make_mut(&mut view.record);
        record.name = "web_1".into();
        record.config.labels.insert("tier".into(), "front".into());
        record.config.image = "nginx".into();
        view.state =
            State { phase: Phase::Exited, exit_code: 3, started_at: 1, finished_at: 2, ..State::default() };
        passes(&view, &inspect::endpoint_settings(&view), &filters, &[]).unwrap()
    }

    #[test]
    fn filters_are_and_between_keys_and_or_within() {
        assert!(filtered(&[]));
        assert!(filtered(&[("name", "web")]) && filtered(&[("name", "^/web_1$")]));
        assert!(!filtered(&[("name", "^eb")]));
        assert!(filtered(&[("status", "running"), ("status", "exited")]));
        assert!(!filtered(&[("status", "running")]));
        assert!(filtered(&[("exited", "3")]) && !filtered(&[("exited", "0")]));
        assert!(filtered(&[("label", "tier=front")]) && !filtered(&[("label", "tier=back")]));
        assert!(!filtered(&[("label", "tier=front"), ("name", "other")]));
        assert!(filtered(&[("ancestor", "nginx")]) && !filtered(&[("ancestor", "busybox")]));
        assert!(filtered(&[("health", "none")]) && !filtered(&[("health", "healthy")]));
        assert!(filtered(&[("network", "bridge")]) && !filtered(&[("network", "other")]));
    }

    #[test]
    fn a_line_is_kept_while_it_would_say_the_same() {
        let (last, mut view) = (LastLine::default(), testing::view());
        view.state.phase = Phase::Running;
        let line = |view: &Arc<View>, image: &str, status: &str| {
            let networks = inspect::endpoint_settings(view);
            last.get(view, image, status, || summary(view, networks, image, status.to_owned()))
        };
        let running = Arc::new(view.clone());
        let first = line(&running, "x", "Up 1 second");
        assert!(first.0.get().contains("\"Status\":\"Up 1 second\""), "{first:?}");
        assert!(Arc::ptr_eq(&first.0, &line(&running, "x", "Up 1 second").0));
        for (image, status) in [("x", "Up 2 seconds"), ("y", "Up 2 seconds")] {
            let another = line(&running, image, status);
            assert!(another.0.get().contains(status) && another.0.get().contains(&format!("\"{image}\"")));
        }
        view.state.phase = Phase::Exited;
        let ended = Arc::new(view);
        let first = line(&ended, "x", "Exited");
        assert!(!Arc::ptr_eq(&first.0, &line(&ended, "x", "Exited").0));
    }

    #[test]
    fn names_match_by_regular_expressions() {
        for (pattern, name, matches) in [
            ("b", "abc", true),
            ("^a", "abc", true),
            ("^b", "abc", false),
            ("c$", "abc", true),
            ("^abc$", "abc", true),
            ("^abc$", "abcd", false),
            ("a.*c", "abc", true),
            ("^a.*z$", "abc", false),
            ("^(abc|x)$", "abc", true),
            ("a[bc]+$", "abc", true),
            ("a.c", "abc", true),
            ("a(", "a(", true),
            ("a(", "xa(", false),
        ] {
            assert_eq!(pattern_matches(pattern, name), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn commands_read_as_dockers() {
        let words = ["sh", "-c", "echo hi"].map(str::to_owned);
        assert_eq!(command(&words), "sh -c 'echo hi'");
    }
}
