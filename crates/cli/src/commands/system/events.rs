//! `corten events`.

use std::ops::RangeInclusive;

use client::EventOptions;
use spec::api::EventMessage;

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::filter;
use crate::json::Json;
use crate::template::{HIDDEN, Template, TemplateError};
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
        let wrong = |error: TemplateError| Error::Exit {
            code: 64,
            message: format!("Error parsing format: {error}"),
        };
        let template = match self.format.as_str() {
            "" | "json" => None,
            format => Some(Template::parse(format).map_err(wrong)?),
        };
        if let Some(template) = &template {
            // A mistake is told now, not with the first event.
            template.render(&fields(Json::of(&EventMessage::default()))).map_err(wrong)?;
        }
        let mut events = app.client().await?.events(&options).await?;
        while let Some(line) = events.line().await? {
            let json =
                || Json::parse(&line).map_err(|error| Error::invalid(format!("not an event: {error}")));
            match &template {
                None if self.format == "json" => print::line(json()?.compact()),
                None => {
                    let event = spec::gojson::from_slice(&line)
                        .map_err(|error| Error::invalid(format!("not an event: {error}")))?;
                    print::line(describe(&event));
                }
                Some(template) => print::line(template.render(&fields(json()?)).map_err(wrong)?),
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

/// The fields under the names of Go's type; shown as JSON they keep those of the API.
fn fields(event: Json) -> Json {
    let names = [
        ("Status", "status"),
        ("ID", "id"),
        ("From", "from"),
        ("Scope", "scope"),
        ("Time", "time"),
        ("TimeNano", "timeNano"),
    ];
    let Json::Object(mut members) = event else { return event };
    let named: Vec<_> = names
        .iter()
        .map(|(name, key)| {
            let value = members.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
            (format!("{HIDDEN}{name}"), value.unwrap_or_else(|| "".into()))
        })
        .collect();
    members.extend(named);
    Json::Object(members)
}
