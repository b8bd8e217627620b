//! Another commit of ours, built as it ships, to be compared with.

use std::path::PathBuf;
use std::process::Command;

use crate::{cargo, root, run};

/// Builds `revision` in a worktree below `target/bench/` and returns the directory of its binaries. Built once per commit.
pub(super) fn build(revision: &str) -> Result<PathBuf, String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short", "--verify", &format!("{revision}^{{commit}}")])
        .current_dir(root())
        .output()
        .map_err(|e| format!("git: {e}"))?;
    if !output.status.success() {
        return Err(format!("--compare {revision}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    let commit = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let tree = root().join("target/bench").join(&commit);
    let dist = tree.join("target/dist");
    if dist.join("cortend").exists() {
        return Ok(dist);
    }
    if !tree.exists() {
        let place = tree.display().to_string();
        run(Command::new("git").args(["worktree", "add", "--detach", &place, &commit]))?;
    }
    let manifest = tree.join("Cargo.toml").display().to_string();
    run(&mut cargo(&["run", "--quiet", "--manifest-path", &manifest, "--package", "xtask", "--", "build"]))?;
    // The binaries stay, the tree is no branch of anybody's.
    Ok(dist)
}
