//! What happens in the engine, as it is told to `docker events`: a ring of the last 256, and a live feed.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use spec::Filters;
use spec::api::{EventActor, EventMessage};
use tokio::sync::{broadcast, mpsc};

use crate::Engine;
use crate::time;

/// How many past events are kept, as in Docker.
const KEPT: usize = 256;
/// How far a slow listener may fall behind before it misses events.
const BEHIND: usize = 1024;

/// The feed.
#[derive(Debug)]
pub(crate) struct Bus {
    past: Mutex<VecDeque<EventMessage>>,
    live: broadcast::Sender<EventMessage>,
    count: AtomicU64,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self {
            past: Mutex::new(VecDeque::with_capacity(KEPT)),
            live: broadcast::Sender::new(BEHIND),
            count: AtomicU64::new(0),
        }
    }

    /// Tells everyone.
    pub(crate) fn publish(&self, event: EventMessage) {
        self.count.fetch_add(1, Ordering::Relaxed);
        let mut past = self.past.lock().expect("no holder of this lock can panic");
        if past.len() == KEPT {
            past.pop_front();
        }
        past.push_back(event.clone());
        // Sent under the lock, so that a new listener sees each event once. Nobody listening is no error.
        let _ = self.live.send(event);
    }

    /// The past from `since` on, and a receiver for all that follows.
    fn listen(&self, since: Option<i128>) -> (Vec<EventMessage>, broadcast::Receiver<EventMessage>) {
        let past = self.past.lock().expect("no holder of this lock can panic");
        let from = since.unwrap_or(i128::MAX);
        let old = past.iter().filter(|e| i128::from(e.time_nano) >= from).cloned().collect();
        (old, self.live.subscribe())
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.live.receiver_count()
    }
}

/// An event that happens now.
pub(crate) fn message(
    kind: &str,
    action: &str,
    id: &str,
    attributes: BTreeMap<String, String>,
) -> EventMessage {
    let now = time::now();
    EventMessage {
        r#type: kind.into(),
        action: action.into(),
        actor: EventActor { id: id.into(), attributes },
        scope: "local".into(),
        time: (now / 1_000_000_000).cast_signed(),
        time_nano: now.cast_signed(),
    }
}

/// Whether an event passes. `container`, `image`, `network`, `volume` … match the object's id, its name, or a prefix of
/// the id.
pub(crate) fn passes(event: &EventMessage, filters: &Filters) -> bool {
    let attributes = &event.actor.attributes;
    let attribute = |key: &str| attributes.get(key).map_or("", String::as_str);
    let object = |kind: &str| {
        filters.any(kind, |wanted| {
            event.r#type == kind
                && (event.actor.id == wanted
                    || attribute("name") == wanted.trim_start_matches('/')
                    || (!wanted.is_empty() && event.actor.id.starts_with(wanted)))
        })
    };
    let image = filters.any("image", |wanted| {
        let names = [event.actor.id.as_str(), attribute("image"), attribute("name")];
        let without_tag = |name: &str| match name.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => repository.to_owned(),
            _ => name.to_owned(),
        };
        names.iter().any(|n| *n == wanted || (!n.is_empty() && without_tag(n) == wanted))
    });
    // `exec_start: sh -c x` is asked for as `exec_start`.
    let action = filters.any("event", |wanted| {
        event.action == wanted || event.action.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
    });
    filters.any("type", |wanted| event.r#type == wanted)
        && filters.any("scope", |wanted| event.scope == wanted)
        && filters.labels("label", attributes)
        && action
        && image
        && ["container", "network", "volume", "daemon", "plugin"].into_iter().all(object)
        && ["config", "node", "secret", "service"].into_iter().all(object)
}

impl Engine {
    /// Past events since `since` (nanoseconds), then live ones; ends at `until`.
    pub fn events(
        &self,
        since: Option<i128>,
        until: Option<i128>,
        filters: Filters,
    ) -> mpsc::Receiver<EventMessage> {
        let (sender, receiver) = mpsc::channel(64);
        let now = i128::from(time::now());
        // `until` alone means the past up to there, as in Docker.
        let since = since.or(until.filter(|u| *u <= now).map(|_| 0));
        let (past, mut live) = self.inner.events.listen(since);
        tokio::spawn(async move {
            let wanted = |event: &EventMessage| {
                passes(event, &filters) && until.is_none_or(|u| i128::from(event.time_nano) <= u)
            };
            for event in past.into_iter().filter(|e| wanted(e)) {
                if sender.send(event).await.is_err() {
                    return;
                }
            }
            let left = until.map(|u| u.saturating_sub(i128::from(time::now())));
            let left = left.map(|n| std::time::Duration::from_nanos(u64::try_from(n).unwrap_or(0)));
            let end = async {
                match left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::pin!(end);
            loop {
                let event = tokio::select! {
                    () = &mut end => return,
                    () = sender.closed() => return,
                    event = live.recv() => event,
                };
                match event {
                    Ok(event) if wanted(&event) => {
                        if sender.send(event).await.is_err() {
                            return;
                        }
                    }
                    // A listener that lags misses events rather than holding the engine back.
                    Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        });
        receiver
    }

    /// Publishes an event of the builder or daemon.
    pub fn publish(&self, event: EventMessage) {
        self.inner.events.publish(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, action: &str, id: &str, attributes: &[(&str, &str)]) -> EventMessage {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        message(kind, action, id, attributes)
    }

    #[test]
    fn filters_match_as_dockers() {
        let start =
            event("container", "start", "abcdef", &[("name", "web"), ("image", "busybox:1"), ("l", "v")]);
        let exec = event("container", "exec_start: sh -c x", "abcdef", &[]);
        let passes = |event: &EventMessage, pairs: &[(&str, &str)]| {
            let mut filters = Filters::default();
            pairs.iter().for_each(|(k, v)| filters.add(*k, *v));
            super::passes(event, &filters)
        };
        assert!(passes(&start, &[]));
        assert!(passes(&start, &[("container", "web")]) && passes(&start, &[("container", "abc")]));
        assert!(!passes(&start, &[("container", "other")]) && !passes(&start, &[("network", "web")]));
        assert!(passes(&start, &[("image", "busybox")]) && passes(&start, &[("image", "busybox:1")]));
        assert!(!passes(&start, &[("image", "busy")]));
        assert!(passes(&exec, &[("event", "exec_start")]) && !passes(&exec, &[("event", "exec")]));
        assert!(passes(&start, &[("label", "l=v"), ("type", "container")]));
        assert!(!passes(&start, &[("label", "l=w")]));
        assert!(passes(&start, &[("event", "die"), ("event", "start")]));
    }

    #[test]
    fn the_ring_keeps_the_last_and_listeners_miss_nothing() {
        let bus = Bus::new();
        for n in 0..300 {
            bus.publish(event("container", "start", &n.to_string(), &[]));
        }
        let (past, mut live) = bus.listen(Some(0));
        assert_eq!((past.len(), past[0].actor.id.as_str()), (KEPT, "44"));
        bus.publish(event("container", "die", "x", &[]));
        assert_eq!(live.try_recv().unwrap().action, "die");
        assert!(live.try_recv().is_err());
    }
}
