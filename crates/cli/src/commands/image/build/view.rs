//! A build as it goes: a live picture on a terminal, plain lines elsewhere, JSON for programs.

mod live;
mod plain;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::JsonLines;
use spec::api::{BUILD_EVENT, BuildAnswer, BuildEvent, Progress};

use super::sink::Sinks;
use crate::error::{Error, Result};
use crate::{print, progress, terminal};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// Redrawn in place.
    Live,
    /// A line for each thing that happens.
    Plain,
    /// Each event as a line of JSON.
    Json,
    /// Not at all.
    Quiet,
}

impl Mode {
    /// `--progress`, else what suits stderr.
    pub(super) fn of(text: &str, quiet: bool) -> Result<Self> {
        if quiet {
            return Ok(Self::Quiet);
        }
        let text = if text == "auto" {
            crate::app::env("BUILDKIT_PROGRESS").unwrap_or(text.into())
        } else {
            text.into()
        };
        match text.as_str() {
            "auto" if terminal::stderr_is_terminal() => Ok(Self::Live),
            "auto" | "plain" => Ok(Self::Plain),
            "tty" if terminal::stderr_is_terminal() => Ok(Self::Live),
            "tty" => Err(Error::invalid("failed to get console: provided file is not a console")),
            "json" | "rawjson" => Ok(Self::Json),
            "quiet" | "none" => Ok(Self::Quiet),
            other => Err(Error::invalid(format!(
                "invalid progress mode {other}: expected auto, plain, tty, quiet or json"
            ))),
        }
    }
}

/// What a build came to.
#[derive(Debug, Default)]
pub(super) struct Shown {
    /// The image's id.
    pub(super) id: String,
    /// For `--metadata-file`.
    pub(super) metadata: BTreeMap<String, serde_json::Value>,
    /// What was called for instead of a build.
    pub(super) answer: Option<BuildAnswer>,
}

/// Shows a stream to its end; outputs go to their sinks.
///
/// # Errors
/// The build failed.
pub(super) async fn show(mut lines: JsonLines<Progress>, mode: Mode, sinks: &mut Sinks) -> Result<Shown> {
    let (mut live, mut plain) = (live::Live::new(), plain::Plain::default());
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    let mut shown = Shown::default();
    let (mut excerpt, mut summary) = (String::new(), String::new());
    let outcome = loop {
        let message = tokio::select! {
            message = lines.next() => message?,
            _ = tick.tick(), if mode == Mode::Live => {
                print::err(live.draw(terminal::size()));
                continue;
            }
        };
        let Some(message) = message else { break Ok(()) };
        if let Some(detail) = &message.error_detail {
            let code = u8::try_from(detail.code).ok().filter(|code| *code != 0).unwrap_or(1);
            break Err(Error::Exit { code, message: detail.message.clone() });
        }
        if let Some(text) = message.error {
            break Err(Error::Exit { code: 1, message: text });
        }
        if message.id.as_deref() == Some(BUILD_EVENT)
            && let Some(Ok(event)) =
                message.aux.as_ref().map(|aux| serde_json::from_value::<BuildEvent>(aux.clone()))
        {
            excerpt.push_str(&event.excerpt);
            if let Some(number) = event.output {
                let bytes = STANDARD.decode(&event.data);
                sinks.take(
                    number,
                    bytes.map_err(|_| Error::invalid("the engine sent an output that cannot be read"))?,
                )?;
                continue;
            }
            shown.metadata.extend(event.metadata.clone());
            if event.vertex.is_empty() {
                summary.push_str(&event.log);
            }
            if event.answer.is_some() {
                shown.answer = event.answer;
                continue;
            }
            match mode {
                Mode::Live => live.take(&event),
                Mode::Plain => print::err(plain.take(&event)),
                Mode::Json => print::err(serde_json::to_string(&event).unwrap_or_default() + "\n"),
                Mode::Quiet => {}
            }
            continue;
        }
        if let Some(text) = message.aux.as_ref().and_then(|aux| progress::aux_text(aux, "ID")) {
            shown.id = text;
            continue;
        }
        // Another engine's classic builder speaks so.
        if let Some(stream) = message.stream {
            if shown.id.is_empty() && mode == Mode::Quiet && !stream.trim().is_empty() {
                stream.trim().clone_into(&mut shown.id);
            } else if mode != Mode::Quiet {
                print::out(stream);
            }
        }
    };
    if mode == Mode::Live {
        live.end();
        print::err(live.draw(terminal::size()) + &live.warnings());
    }
    if matches!(mode, Mode::Live | Mode::Plain) {
        print::err(summary);
    }
    if outcome.is_err() && matches!(mode, Mode::Live | Mode::Plain) {
        if mode == Mode::Live {
            print::err(live.failure());
        }
        print::err(excerpt);
    }
    outcome.map(|()| shown)
}

/// Seconds between two times of the engine's; 0 when either is none.
fn seconds(from: &str, to: &str) -> f64 {
    let (Ok(from), Ok(to)) = (from.parse::<jiff::Timestamp>(), to.parse::<jiff::Timestamp>()) else {
        return 0.0;
    };
    from.until(to).ok().and_then(|span| span.total(jiff::Unit::Second).ok()).unwrap_or(0.0)
}
