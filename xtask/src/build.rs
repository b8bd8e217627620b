//! The binaries as they ship: corten and cortend with what is in a hurry made fast, the shim small, static and at a fixed address,
//! because its memory is paid once per container. The linker is this program (see `layout`), which makes corten static, too.

use std::path::PathBuf;
use std::process::Command;

use crate::{cargo, layout, root, run};

/// What is built for: this machine.
pub(crate) const TARGET: &str =
    if cfg!(target_arch = "aarch64") { "aarch64-unknown-linux-gnu" } else { "x86_64-unknown-linux-gnu" };

/// Names that tell the instances of a generic function from each other (see `layout`).
const NAMES: &str = "-C symbol-mangling-version=v0";

/// Static, at a fixed address, and without tables for unwinding: a panic of the shim aborts.
const SHIM: &str = "-C target-feature=+crt-static -C relocation-model=static -C force-unwind-tables=no";

/// Builds into `target/dist/` and returns that directory.
pub(crate) fn build() -> Result<PathBuf, String> {
    let dist = root().join("target/dist");
    std::fs::create_dir_all(&dist).map_err(|e| format!("{}: {e}", dist.display()))?;
    for (program, named) in named()? {
        // By rename: a running program's file cannot be written.
        let temporary = dist.join(format!(".{program}.tmp"));
        run(Command::new("strip").arg("-o").arg(&temporary).arg(named))?;
        std::fs::rename(&temporary, dist.join(program)).map_err(|e| format!("{program}: {e}"))?;
    }
    Ok(dist)
}

/// Builds the programs with the names of their functions: each program's name, and its file.
pub(crate) fn named() -> Result<[(&'static str, PathBuf); 3], String> {
    let mut programs = cargo(&["build", "--profile", "ship", "-p", "cli", "-p", "daemon"]);
    programs.env("RUSTFLAGS", NAMES);
    layout::arrange(&mut programs)?;
    run(&mut programs)?;
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
    shim.env("RUSTFLAGS", format!("{SHIM} {NAMES}"));
    layout::arrange(&mut shim)?;
    run(&mut shim)?;
    Ok([
        ("corten-shim", root().join(format!("target/shim/{TARGET}/tiny/corten-shim"))),
        ("cortend", root().join("target/ship/cortend")),
        ("corten", root().join("target/ship/corten")),
    ])
}
