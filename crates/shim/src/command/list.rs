//! `list`: all containers under the root.

use super::args::{Args, Known};
use super::state::Told;
use super::{Context, Outcome, print, record, state, words};

const OPTIONS: [Known; 2] = [("format", "f", true), ("quiet", "q", false)];

/// `list`.
pub(super) fn list(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    if context.root_named && !context.root.is_dir() {
        return Err(format!("open {}: no such file or directory", context.root.display()));
    }
    let names = sys::file::list(&context.root).map_err(words)?;
    // One that is removed while we look is not there.
    let held: Vec<_> = names.iter().filter_map(|id| record::open(context, id).ok()).collect();
    if args.has("quiet") {
        return print(&held.iter().map(|held| held.record.id.clone() + "\n").collect::<String>());
    }
    let mut values: Vec<_> = held.iter().map(state::value).collect();
    values.iter_mut().zip(&held).for_each(|(told, held)| told.owner = held.owner());
    match args.value("format") {
        Some("json") => print(&(serde_json::to_string(&values).unwrap_or_default() + "\n")),
        None | Some("table") => {
            let titles = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"];
            let mut rows = vec![titles.map(str::to_owned).to_vec()];
            rows.extend(values.into_iter().map(|told| {
                let Told { id, pid, status, bundle, created, owner, .. } = told;
                vec![id, pid.to_string(), status, bundle, created, owner]
            }));
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
