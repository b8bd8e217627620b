//! The binaries as they ship: corten and cortend with what is in a hurry made fast, the shim small, static and at a fixed address,
//! because its memory is paid once per container.

use std::path::PathBuf;

use crate::{cargo, layout, root, run};

/// What is built for: this machine.
pub(crate) const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Static, at a fixed address, and without tables for unwinding: a panic of the shim aborts.
const SHIM: &str = "-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no";

/// Builds into `target/dist/` and returns that directory.
pub(crate) fn build() -> Result<PathBuf, String> {
    let dist = root().join("target/dist");
    std::fs::create_dir_all(&dist).map_err(|e| format!("{}: {e}", dist.display()))?;
    run(&mut cargo(&["build", "--profile", "ship", "-p", "cli", "-p", "daemon"]))?;
    // A target directory of its own: other flags would throw the release build's cache away.
    let mut shim = cargo(&[
        "build",
        "--profile",
        "tiny",
        "-p",
        "shim",
        "--target",
        TARGET,
        "--target-dir",
        "target/shim",
    ]);
    shim.env("RUSTFLAGS", SHIM);
    layout::arrange(&mut shim)?;
    run(&mut shim)?;
    for (from, to) in [
        ("target/ship/corten".to_owned(), "corten"),
        ("target/ship/cortend".to_owned(), "cortend"),
        (format!("target/shim/{TARGET}/tiny/corten-shim"), "corten-shim"),
    ] {
        // By rename: a running program's file cannot be written.
        let temporary = dist.join(format!(".{to}.tmp"));
        let copied = std::fs::copy(root().join(&from), &temporary)
            .and_then(|_| std::fs::rename(&temporary, dist.join(to)));
        copied.map_err(|e| format!("{from}: {e}"))?;
    }
    Ok(dist)
}
