//! `list`: all containers under the root.

use super::args::{Args, Known};
use super::{Context, Outcome, json, print, record, state, words};

const OPTIONS: [Known; 2] = [("format", "f", true), ("quiet", "q", false)];

/// `list`.
pub(super) fn list(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    let names = sys::file::list(&context.root).map_err(words)?;
    // One that is removed while we look is not there.
    let held: Vec<_> = names.iter().filter_map(|id| record::open(context, id).ok()).collect();
    if args.has("quiet") {
        return print(&held.iter().map(|held| held.record.id.clone() + "\n").collect::<String>());
    }
    let values: Vec<_> = held.iter().map(state::value).collect();
    match args.value("format") {
        Some("json") => print(&json(&values)),
        None | Some("table") => {
            let text =
                |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let columns = ["id", "pid", "status", "bundle", "created", "owner"];
            let mut rows = vec![columns.map(str::to_uppercase).to_vec()];
            rows.extend(values.iter().map(|v| columns.map(|c| text(&v[c])).to_vec()));
            print(&table(&rows))
        }
        Some(other) => Err(format!("invalid format option: {other}")),
    }
}

/// Columns as wide as their widest cell and one space, twelve at least.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len() + 1).max().unwrap_or(0).max(12);
    rows.iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| format!("{cell:<w$}", w = width(column)));
            cells.collect::<String>().trim_end().to_owned() + "\n"
        })
        .collect()
}
