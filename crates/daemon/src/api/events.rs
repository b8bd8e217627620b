//! `/events`.

use bytes::Bytes;
use http::Response;
use http::header::ACCEPT;
use spec::Filters;
use spec::api::EventMessage;

use super::{Call, stream};
use crate::body::{Body, Task};
use crate::error::Result;
use crate::router::Version;
use crate::versions;

const FILTERS: &[&str] = &[
    "config",
    "container",
    "daemon",
    "event",
    "image",
    "label",
    "network",
    "node",
    "plugin",
    "scope",
    "secret",
    "service",
    "type",
    "volume",
];

/// How events follow each other on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One object per line.
    Lines(&'static str),
    /// RFC 7464: each object behind a record separator.
    Sequence,
}

impl Form {
    /// Negotiated since 1.52; JSON lines under the old name before.
    fn of(accept: &str, version: Version) -> Self {
        if version < Version(1, 52) {
            return Self::Lines("application/json");
        }
        let wanted = accept.split(',').filter_map(|t| t.split(';').next()).map(str::trim);
        for media_type in wanted {
            match media_type {
                "application/jsonl" => return Self::Lines("application/jsonl"),
                "application/x-ndjson" => return Self::Lines("application/x-ndjson"),
                "application/json-seq" => return Self::Sequence,
                _ => {}
            }
        }
        Self::Lines("application/json")
    }

    fn write(self, event: &EventMessage, version: Version) -> Bytes {
        let mut bytes = Vec::new();
        if self == Self::Sequence {
            bytes.push(0x1e);
        }
        let mut value = serde_json::to_value(event).expect("an event is an object");
        versions::event(&mut value, version);
        serde_json::to_writer(&mut bytes, &value).expect("memory takes it");
        bytes.push(b'\n');
        bytes.into()
    }
}

pub(super) fn events(call: Call) -> Result<Response<Body>> {
    let filters = Filters::parse(call.query.get("filters"), FILTERS)?;
    let mut events = call.engine.events(call.query.time("since")?, call.query.time("until")?, filters);
    let accept = call.headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let form = Form::of(accept, call.version);
    let version = call.version;
    // Images' `create` is unknown to clients before 1.46.
    let unknown = move |event: &EventMessage| {
        version < Version(1, 46) && event.r#type == "image" && event.action == "create"
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    let task = Task::spawn(async move {
        while let Some(event) = events.recv().await {
            if !unknown(&event) && sender.send(form.write(&event, version)).await.is_err() {
                return;
            }
        }
    });
    let content_type = match form {
        Form::Lines(content_type) => content_type,
        Form::Sequence => "application/json-seq",
    };
    stream(content_type, Body::stream(receiver).until(call.peer.gone()).with_task(task))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_negotiated_since_1_52() {
        assert_eq!(Form::of("application/json-seq", Version(1, 51)), Form::Lines("application/json"));
        assert_eq!(Form::of("text/x, application/json-seq;q=1", Version(1, 52)), Form::Sequence);
        assert_eq!(Form::of("application/jsonl", Version(1, 55)), Form::Lines("application/jsonl"));
        assert_eq!(Form::of("*/*", Version(1, 55)), Form::Lines("application/json"));
    }

    #[test]
    fn old_clients_read_status_and_id() {
        let mut event =
            EventMessage { r#type: "container".into(), action: "start".into(), ..Default::default() };
        event.actor.id = "c1".into();
        event.actor.attributes.insert("image".into(), "busybox".into());
        let line = Form::Lines("x").write(&event, Version(1, 51));
        let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(
            (&value["status"], &value["id"], &value["from"]),
            (&"start".into(), &"c1".into(), &"busybox".into())
        );
        let line = Form::Sequence.write(&event, Version(1, 52));
        assert_eq!(line[0], 0x1e);
        assert!(!String::from_utf8_lossy(&line).contains("\"status\""));
    }
}
