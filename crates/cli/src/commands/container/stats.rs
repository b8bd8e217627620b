//! `corten stats`.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::time::Duration;

use client::{Client, EventOptions};
use spec::Filters;

use super::sample::{Sample, fields};
use crate::app::App;
use crate::error::{Error, Result};
use crate::list::{Kind, short_id};
use crate::together::Together;
use crate::verb::{MANY, Verb};
use crate::{print, terminal};

/// Time between two drawings of the table.
const REFRESH: Duration = Duration::from_millis(500);
/// A container that says nothing for so long has no figures.
const SILENCE: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
pub(crate) struct Stats {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show one sample and end
    #[arg(long)]
    no_stream: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    containers: Vec<String>,
}

const KIND: Kind = Kind {
    table: "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    quiet: "{{.ID}}",
    headers: &[
        ("Container", "CONTAINER"),
        ("Name", "NAME"),
        ("ID", "CONTAINER ID"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
};

impl Verb for Stats {
    const USAGE: &'static str = "[OPTIONS] [CONTAINER...]";
    const ABOUT: &'static str = "Display a live stream of container(s) resource usage statistics";
    const WORDS: RangeInclusive<usize> = 0..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let configured = match &self.format {
            None => app.config()?.text("statsFormat").map(str::to_owned),
            Some(_) => None,
        };
        let client = app.client().await?;
        let watched = Watched::default();
        let mut watchers = Together::new();
        let draw = || self.draw(configured.as_deref(), &watched);
        if !self.containers.is_empty() {
            for name in &self.containers {
                watched.add(name);
                watchers.push(watch(client, name.clone(), !self.no_stream, &watched));
            }
            watchers.until(|| watched.all_seen()).await;
            let errors = watched.errors();
            if !errors.is_empty() {
                return Err(Error::invalid(errors.join("\n")));
            }
            if self.no_stream {
                draw()?;
                return Ok(0);
            }
            let mut ticks = tokio::time::interval(REFRESH);
            loop {
                tokio::select! {
                    () = watchers.finish() => return Ok(0),
                    _ = ticks.tick() => draw()?,
                }
            }
        }
        let mut filters = Filters::default();
        filters.add("type".to_owned(), "container");
        let mut events = client.events(&EventOptions { filters, ..EventOptions::default() }).await?;
        for container in client.container_list(self.all, None, false, &Filters::default()).await? {
            let id = short_id(&container.id).to_owned();
            if watched.add(&id) {
                watchers.push(watch(client, id, !self.no_stream, &watched));
            }
        }
        watchers.until(|| watched.all_seen()).await;
        if self.no_stream {
            draw()?;
            return Ok(0);
        }
        let mut ticks = tokio::time::interval(REFRESH);
        loop {
            tokio::select! {
                () = watchers.until(|| false) => {}
                _ = ticks.tick() => draw()?,
                event = events.next() => {
                    let Some(event) = event? else { return Ok(0) };
                    let id = short_id(&event.actor.id).to_owned();
                    match event.action.as_str() {
                        "start" if watched.add(&id) => watchers.push(watch(client, id, true, &watched)),
                        "create" if self.all && watched.add(&id) => watchers.push(watch(client, id, true, &watched)),
                        "die" if !self.all => watched.remove(&id),
                        "destroy" => watched.remove(&id),
                        _ => {}
                    }
                }
            }
        }
    }
}

impl Stats {
    fn draw(&self, configured: Option<&str>, watched: &Watched) -> Result<()> {
        let now = watched.0.borrow();
        let rows = now.iter().map(|w| fields(&w.asked, &w.sample, w.error.is_none(), !self.no_trunc));
        let text = KIND.text(self.format.as_deref(), configured, false, rows)?;
        if self.no_stream || !terminal::stdout_is_terminal() {
            print::out(text);
            return Ok(());
        }
        // Over what was there: each line to its end, then everything below.
        let lines: String = text.lines().map(|line| format!("{line}\x1b[K\n")).collect();
        print::out(format!("\x1b[H{lines}\x1b[J"));
        Ok(())
    }
}

/// The containers in the table, in its order.
#[derive(Default)]
struct Watched(RefCell<Vec<Watch>>);

struct Watch {
    /// What it is called by whoever wants it watched.
    asked: String,
    sample: Sample,
    /// Why the sample is worth nothing.
    error: Option<String>,
    /// Whether its first sample, or error, has come.
    seen: bool,
}

impl Watched {
    /// Adds a row; whether there was none.
    fn add(&self, asked: &str) -> bool {
        let mut rows = self.0.borrow_mut();
        let new = rows.iter().all(|w| w.asked != asked);
        if new {
            let (asked, sample) = (asked.to_owned(), Sample::default());
            rows.push(Watch { asked, sample, error: None, seen: false });
        }
        new
    }

    fn remove(&self, asked: &str) {
        self.0.borrow_mut().retain(|w| w.asked != asked);
    }

    /// Changes a row; whether it is still there.
    fn set(&self, asked: &str, outcome: std::result::Result<Sample, String>) -> bool {
        let mut rows = self.0.borrow_mut();
        let Some(row) = rows.iter_mut().find(|w| w.asked == asked) else { return false };
        row.seen = true;
        match outcome {
            Ok(sample) => (row.sample, row.error) = (sample, None),
            Err(error) => row.error = Some(error),
        }
        true
    }

    fn all_seen(&self) -> bool {
        self.0.borrow().iter().all(|w| w.seen)
    }

    fn errors(&self) -> Vec<String> {
        self.0.borrow().iter().filter_map(|w| w.error.clone()).collect()
    }
}

/// Keeps a container's row up to date until the engine has no more to say or nobody wants the row.
async fn watch(client: &Client, asked: String, stream: bool, watched: &Watched) {
    let mut samples = match client.container_stats(&asked, stream).await {
        Ok(samples) => samples,
        Err(error) => {
            watched.set(&asked, Err(Error::from(error).line()));
            return;
        }
    };
    loop {
        let next = samples.next();
        let outcome = match if stream { tokio::time::timeout(SILENCE, next).await } else { Ok(next.await) } {
            Ok(Ok(Some(stats))) => Ok(Sample::of(&stats)),
            Ok(Ok(None)) => {
                watched.set(&asked, Err("EOF".into()));
                return;
            }
            Ok(Err(error)) => {
                watched.set(&asked, Err(Error::from(error).line()));
                return;
            }
            Err(_) => Err("timeout waiting for stats".to_owned()),
        };
        if !watched.set(&asked, outcome) || !stream {
            return;
        }
    }
}
