//! `corten inspect`: any object; and how all the other `inspect`s show theirs.

use std::ops::RangeInclusive;

use bytes::Bytes;
use client::Client;

use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::print;
use crate::template::Template;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// Format output with a template, or "json"
    #[arg(short, long, default_value = "")]
    format: String,
    /// Show the size of a container's files
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of this type (container, image, network, volume)
    #[arg(long, default_value = "")]
    r#type: String,
    names: Vec<String>,
}

impl Verb for Inspect {
    const USAGE: &'static str = "[OPTIONS] NAME|ID [NAME|ID...]";
    const ABOUT: &'static str = "Return low-level information on engine objects";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        const TYPES: [&str; 4] = ["container", "image", "network", "volume"];
        let kind = self.r#type.as_str();
        if !kind.is_empty() && !TYPES.contains(&kind) {
            return Err(Error::invalid(format!(
                "unknown type: {kind:?}: must be one of \"container\", \"image\", \"network\", \"volume\""
            )));
        }
        let (client, size) = (app.client().await?, self.size);
        show(&self.names, &self.format, |name| async move { find(client, kind, size, &name).await }).await
    }
}

/// The first object of that name, in Docker's order of types.
async fn find(client: &Client, kind: &str, size: bool, name: &str) -> Result<Bytes> {
    let wanted = |this: &str| kind.is_empty() || kind == this;
    let mut found = None;
    for this in ["container", "image", "network", "volume"] {
        if !wanted(this) {
            continue;
        }
        let answer = match this {
            "container" => client.container_inspect_raw(name, size).await,
            "image" => client.image_inspect_raw(name, "").await,
            "network" => client.network_inspect_raw(name, false).await,
            _ => client.volume_inspect_raw(name).await,
        };
        match answer {
            Err(error) if error.is_not_found() && kind.is_empty() => {}
            other => {
                found = Some(other?);
                break;
            }
        }
    }
    found.ok_or_else(|| Error::invalid(format!("Error: No such object: {name}")))
}

/// Fetches each object and shows what was found: as one JSON array, or through a template. What was not found is
/// told at the end.
pub(crate) async fn show<F>(names: &[String], format: &str, fetch: impl Fn(String) -> F) -> Result<u8>
where
    F: Future<Output = Result<Bytes>>,
{
    let template = match format {
        "" | "json" => None,
        format => Some(Template::parse(format)?),
    };
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match fetch(name.clone()).await {
            Ok(bytes) => found.push(
                Json::parse(&bytes)
                    .map_err(|error| Error::invalid(format!("the daemon's answer is no JSON: {error}")))?,
            ),
            Err(error) => errors.push(error.line()),
        }
    }
    let mut out = String::new();
    match &template {
        None if format == "json" => out = Json::List(found).compact() + "\n",
        None => out = Json::List(found).pretty("", "    ") + "\n",
        Some(template) => {
            for object in &found {
                match template.render(object) {
                    Ok(text) => out.push_str(&text),
                    Err(error) => errors.push(format!("template parsing error: {error}")),
                }
                out.push('\n');
            }
            if found.is_empty() {
                out.push('\n');
            }
        }
    }
    print::out(out);
    errors.iter().for_each(print::err_line);
    Ok(u8::from(!errors.is_empty()))
}
