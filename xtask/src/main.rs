//! Developer tasks: `cargo xtask <task>`.
//!
//! | task | what it does |
//! |---|---|
//! | `build` | the three binaries as they ship, in `target/dist/` |
//! | `test` | installs what the tests need, then runs them all |
//! | `clients` | fetches the original clients that the tests drive into `target/clients/` |
//! | `check` | format, lints, layers, file sizes |
//! | `layers` | only the layers of `layers.toml` |
//! | `layout` | writes anew which functions of the programs lie together in their files |
//! | `man` | the man pages, in `target/dist/man/` |
//! | `vm` | the end-to-end tests on a cgroup v2 machine, under qemu |
//! | `fuzz` | the fuzz targets, or the one that is named, for so many seconds |
//! | `bench` | times Corten beside Debian's docker.io; writes a table. A word names another: `build`, `images`, `network`, `pull`, `registry` |

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's tool talks to its developer")]
#![allow(clippy::disallowed_methods, reason = "a developer's tool runs cargo and friends")]

mod bench;
mod build;
mod check;
mod clients;
mod fuzz;
mod layers;
mod layout;
mod man;
mod test;
mod vm;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// What a task returns: nothing, or why it failed.
pub(crate) type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if std::env::var_os(layout::LINKER).is_some() && arguments.iter().any(|a| a == "-o") {
        return finish(layout::link(&arguments));
    }
    if let Some(outcome) = bench::net::part(&arguments) {
        return finish(outcome);
    }
    let outcome = match arguments.first().map(String::as_str) {
        Some("build") => build::build().map(|dist| println!("built {}", dist.display())),
        Some("test") => test::test(&arguments[1..]),
        Some("clients") => clients::clients(),
        Some("check") => check::check(),
        Some("layers") => layers::layers(),
        Some("layout") => layout::layout(&arguments[1..]),
        Some("man") => man::man().map(|directory| println!("wrote {}", directory.display())),
        Some("vm") => vm::vm(&arguments[1..]),
        Some("fuzz") => fuzz::fuzz(&arguments[1..]),
        Some("bench") => bench::bench(&arguments[1..]),
        Some(_) | None => Err(
            "usage: cargo xtask build | test | clients | check | layers | layout | man | vm | fuzz | bench"
                .into(),
        ),
    };
    finish(outcome)
}

fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Runs a command in the repository's root and fails with its words when it fails.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let words = format!("{command:?}");
    match command.current_dir(root()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{words}: {status}")),
        Err(error) => Err(format!("{words}: {error}")),
    }
}

/// `cargo` with these arguments.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(arguments);
    command
}
