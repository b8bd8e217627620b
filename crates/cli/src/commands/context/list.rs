//! `corten context ls`.

use std::ops::RangeInclusive;

use super::store;
use crate::app::{App, env};
use crate::context::DEFAULT;
use crate::endpoint;
use crate::error::Result;
use crate::json::Json;
use crate::list::{Kind, row};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Only show context names
    #[arg(short, long)]
    quiet: bool,
}

const KIND: Kind = Kind {
    table: "table {{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}",
    quiet: "{{.Name}}",
    headers: &[
        ("Current", ""),
        ("Name", "NAME"),
        ("Description", "DESCRIPTION"),
        ("DockerEndpoint", "DOCKER ENDPOINT"),
        ("Error", "ERROR"),
    ],
};

impl Verb for List {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "List contexts";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let current = app.context()?;
        let contexts = store(app)?.list()?;
        let (host, error) = match endpoint::resolve_default(app.globals(), app.config()?) {
            Ok(endpoint) => (endpoint.host.to_string(), String::new()),
            Err(error) => (String::new(), error.line()),
        };
        let mut rows =
            vec![fields(&current, DEFAULT, "Current DOCKER_HOST based configuration", &host, &error)];
        rows.extend(contexts.iter().map(|c| fields(&current, &c.name, c.description(), c.host(), "")));
        if !rows.iter().any(|row| row.text(&["Name"]) == current) {
            let error = format!("context {current:?}: context not found");
            rows.push(fields(&current, &current, "", "", &error));
        }
        rows.sort_by(|a, b| a.text(&["Name"]).cmp(b.text(&["Name"])));
        KIND.show(self.format.as_deref(), None, self.quiet, rows)?;
        if !self.quiet && app.globals().hosts.is_empty() && current == DEFAULT {
            warn(app)?;
        }
        Ok(0)
    }
}

fn fields(current: &str, name: &str, description: &str, host: &str, error: &str) -> Json {
    row(vec![
        ("Current", (name == current).into()),
        ("Description", description.into()),
        ("DockerEndpoint", host.into()),
        ("Error", error.into()),
        ("Name", name.into()),
    ])
}

/// A variable that goes before the context the user has set.
fn warn(app: &App) -> Result<()> {
    if env("DOCKER_HOST").is_some() {
        let configured = app.config()?.text("currentContext").unwrap_or("default");
        print::err_line(format!(
            "Warning: DOCKER_HOST environment variable overrides the active context. To use {configured:?}, either set \
             the global --context flag, or unset DOCKER_HOST environment variable."
        ));
    }
    Ok(())
}
