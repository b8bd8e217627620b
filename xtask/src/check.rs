//! What must hold of the source as text: format, lints, layers, file sizes.

use std::process::Command;

use crate::{Outcome, cargo, layers, root, run};

/// Source files over this many lines need a line in `xtask/big_files.txt` that says why.
const MAX_LINES: usize = 800;

/// Runs every check; the first failure ends it.
pub(crate) fn check() -> Outcome {
    run(&mut cargo(&["fmt", "--all", "--check"]))?;
    layers::layers()?;
    big_files()?;
    named_tests()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn big_files() -> Outcome {
    let excused = std::fs::read_to_string(root().join("xtask/big_files.txt")).unwrap_or_default();
    let excused: Vec<&str> = excused.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let mut faults = Vec::new();
    for (file, text) in sources()? {
        let lines = text.lines().count();
        if lines > MAX_LINES && !excused.contains(&file.as_str()) {
            faults.push(format!("{file}: {lines} lines; split it, or say why in xtask/big_files.txt"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The rules of SECURITY.md are kept by tests, each of which is there under the name that stands in the last column.
fn named_tests() -> Outcome {
    let sources: String = sources()?.into_iter().map(|(_, text)| text).collect();
    let page =
        std::fs::read_to_string(root().join("SECURITY.md")).map_err(|e| format!("SECURITY.md: {e}"))?;
    let rules = page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let mut faults = Vec::new();
    for cells in rules.map(|rule| rule.split(" | ").collect::<Vec<_>>()) {
        let Some((number, tests)) = cells.first().zip(cells.last()) else { continue };
        // Every other piece is between two backticks; a test's name is a sentence.
        let names = tests.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 1);
        let missing = names.filter(|name| !sources.contains(&format!("fn {name}(")));
        faults.extend(missing.map(|name| format!("SECURITY.md, rule {number}: there is no test {name}")));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// Every source file, by its path.
fn sources() -> Result<Vec<(String, String)>, String> {
    let listed = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root())
        .output()
        .map_err(|e| e.to_string())?;
    let read = |file: &str| {
        // One that was removed and is not yet committed.
        let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        (file.to_owned(), text)
    };
    Ok(String::from_utf8_lossy(&listed.stdout).lines().map(read).collect())
}
