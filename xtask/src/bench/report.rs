//! What a benchmark found: a table on the terminal, the same as JSON in `target/bench/`, and the promises that do not hold.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::{Outcome, root};

/// A table that is being filled. Rows are printed as they come.
pub(super) struct Report {
    word: &'static str,
    peers: Vec<String>,
    rows: Vec<Value>,
    broken: Vec<String>,
}

/// What a row has to keep: `must`, or the gate fails; `aim` is where it should be one day.
#[derive(Clone, Copy)]
pub(super) struct Promise {
    pub(super) must: f64,
    pub(super) aim: f64,
}

impl Promise {
    /// At most so much.
    pub(super) const fn most(must: f64) -> Self {
        Self { must, aim: f64::INFINITY }
    }

    /// Nothing is promised.
    pub(super) const NONE: Self = Self::most(f64::INFINITY);

    fn text(self, unit: &str) -> String {
        match (self.must.is_finite(), self.aim.is_finite()) {
            (false, _) => "–".into(),
            (true, false) => format!("≤ {} {unit}", self.must),
            (true, true) => format!("≤ {} {unit} (aim {})", self.must, self.aim),
        }
    }
}

impl Report {
    /// Prints the head of a table for these engines; the first is the one whose promises count.
    pub(super) fn new(word: &'static str, peers: &[&str]) -> Self {
        let peers: Vec<String> = peers.iter().map(|peer| (*peer).to_owned()).collect();
        println!("| {word} | {} | ratio | promise |", peers.join(" | "));
        println!("|---|{}---|---|", "---|".repeat(peers.len()));
        Self { word, peers, rows: Vec::new(), broken: Vec::new() }
    }

    /// A row of medians, one for each engine that can do it, in the engines' order. The ratio is the first's to the second's.
    pub(super) fn row(&mut self, name: &str, unit: &str, figures: &[f64], promise: Promise) {
        let ratio = figures.get(1).map_or("–".to_owned(), |other| format!("{:.2}", figures[0] / other));
        if figures[0] > promise.must {
            self.broken(format!("{name}: {:.2} {unit}, promised {} {unit}", figures[0], promise.must));
        }
        self.cells(name, unit, figures, &ratio, &promise.text(unit));
    }

    /// A row with a ratio and a promise in words of its own.
    pub(super) fn cells(&mut self, name: &str, unit: &str, figures: &[f64], ratio: &str, promise: &str) {
        let cell = |at: usize| figures.get(at).map_or("–".to_owned(), |f| format!("{f:.2} {unit}"));
        let cells: Vec<String> = (0..self.peers.len()).map(cell).collect();
        println!("| {name} | {} | {ratio} | {promise} |", cells.join(" | "));
        let figures: Vec<Value> = figures.iter().map(|f| json!(f)).collect();
        self.rows.push(
            json!({ "name": name, "unit": unit, "figures": figures, "ratio": ratio, "promise": promise }),
        );
    }

    /// A promise that does not hold.
    pub(super) fn broken(&mut self, what: String) {
        self.broken.push(what);
    }

    /// Writes the JSON. With `gate` it is an error that a promise does not hold.
    pub(super) fn finish(self, gate: bool) -> Outcome {
        let path: PathBuf = root().join("target/bench").join(format!("{}.json", self.word));
        let document = json!({
            "benchmark": self.word,
            "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
            "commit": said("git", &["describe", "--always", "--dirty"]),
            "kernel": said("uname", &["-r"]),
            "processors": std::thread::available_parallelism().map_or(0, usize::from),
            "engines": self.peers,
            "rows": self.rows,
            "broken": self.broken,
        });
        let text = format!("{document:#}\n");
        std::fs::create_dir_all(root().join("target/bench"))
            .and_then(|()| std::fs::write(&path, text))
            .map_err(|e| format!("{}: {e}", path.display()))?;
        println!("\nas JSON: {}", path.display());
        if gate && !self.broken.is_empty() {
            return Err(format!("promises broken: {}", self.broken.join("; ")));
        }
        for broken in &self.broken {
            println!("not kept: {broken}");
        }
        Ok(())
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    output.map_or_else(|_| String::new(), |o| String::from_utf8_lossy(&o.stdout).trim().to_owned())
}
