//! `corten events`.

use std::ops::RangeInclusive;

use client::EventOptions;
use spec::api::EventMessage;

use crate::app::App;
use crate::error::Result;
use crate::flags::filter;
use crate::json::Json;
use crate::template::Template;
use crate::verb::Verb;
use crate::{print, time};

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Show only what matches (e.g. "event=start")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, or "json"
    #[arg(long, default_value = "")]
    format: String,
    /// Show all events since a time, or from a while ago
    #[arg(long, default_value = "")]
    since: String,
    /// Show events until a time
    #[arg(long, default_value = "")]
    until: String,
}

impl Verb for Events {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Get real time events from the server";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let options = EventOptions {
            since: time::moment(&self.since)?,
            until: time::moment(&self.until)?,
            filters: filter::filters(&self.filter)?,
        };
        let template = match self.format.as_str() {
            "" => None,
            "json" => Some(Template::parse("{{json .}}")?),
            format => Some(Template::parse(format)?),
        };
        let mut events = app.client().await?.events(&options).await?;
        while let Some(event) = events.next().await? {
            match &template {
                None => print::line(describe(&event)),
                Some(template) => print::line(template.render(&fields(&event))?),
            }
        }
        Ok(0)
    }
}

/// `time type action id (key=value, …)`.
fn describe(event: &EventMessage) -> String {
    let nano = if event.time_nano == 0 { event.time.saturating_mul(1_000_000_000) } else { event.time_nano };
    let mut line =
        format!("{} {} {} {}", time::rfc3339_nano(nano), event.r#type, event.action, event.actor.id);
    if !event.actor.attributes.is_empty() {
        let attributes: Vec<_> = event.actor.attributes.iter().map(|(k, v)| format!("{k}={v}")).collect();
        line.push_str(&format!(" ({})", attributes.join(", ")));
    }
    line
}

/// The fields of Go's type, under its names; in JSON they have the API's.
fn fields(event: &EventMessage) -> Json {
    let Json::Object(mut members) = Json::of(event) else { return Json::Null };
    for (name, value) in [
        ("Time", Json::Int(event.time)),
        ("TimeNano", Json::Int(event.time_nano)),
        ("Scope", event.scope.as_str().into()),
        ("ID", event.actor.id.as_str().into()),
        ("Status", event.action.as_str().into()),
    ] {
        members.push((name.to_owned(), value));
    }
    Json::Object(members)
}
