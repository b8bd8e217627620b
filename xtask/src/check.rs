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
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"]))
}

fn big_files() -> Outcome {
    let excused = std::fs::read_to_string(root().join("xtask/big_files.txt")).unwrap_or_default();
    let excused: Vec<&str> = excused.lines().filter_map(|l| l.split_whitespace().next()).collect();
    let listed = Command::new("git")
        .args(["ls-files", "*.rs"])
        .current_dir(root())
        .output()
        .map_err(|e| e.to_string())?;
    let mut faults = Vec::new();
    for file in String::from_utf8_lossy(&listed.stdout).lines() {
        let lines = std::fs::read_to_string(root().join(file)).map(|t| t.lines().count()).unwrap_or(0);
        if lines > MAX_LINES && !excused.contains(&file) {
            faults.push(format!("{file}: {lines} lines; split it, or say why in xtask/big_files.txt"));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
