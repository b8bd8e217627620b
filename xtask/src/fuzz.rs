//! The fuzz targets, with stable Rust: the coverage pass is LLVM's own, and libFuzzer is compiled by its crate.

use std::path::{Path, PathBuf};

use crate::build::TARGET;
use crate::{Outcome, cargo, root, run};

/// What cargo-fuzz asks of a nightly compiler, in flags that a stable one takes.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";
const SECONDS: &str = "60";

/// `[TARGET [SECONDS]]`: one target or all of them, each for so long. What it finds is in `fuzz/artifacts/TARGET/`; what it
/// has learned stays in `fuzz/corpus/TARGET/`, which starts from `fuzz/seeds/TARGET/`.
pub(crate) fn fuzz(arguments: &[String]) -> Outcome {
    let fuzz = root().join("fuzz");
    let targets = targets(&fuzz)?;
    let wanted: Vec<&String> = match arguments.first() {
        None => targets.iter().collect(),
        Some(name) if targets.contains(name) => vec![name],
        Some(name) => return Err(format!("there is no target {name}: there are {}", targets.join(", "))),
    };
    let seconds = arguments.get(1).map_or(SECONDS, String::as_str);
    let mut build = cargo(&["build", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", TARGET]);
    for name in &wanted {
        build.args(["--bin", name, "--features", name]);
    }
    run(build.env("RUSTFLAGS", FLAGS))?;
    for name in wanted {
        one(&fuzz, name, seconds)?;
    }
    Ok(())
}

fn one(fuzz: &Path, name: &str, seconds: &str) -> Outcome {
    let place = |kind: &str| -> Result<PathBuf, String> {
        let place = fuzz.join(kind).join(name);
        std::fs::create_dir_all(&place).map_err(|e| format!("{}: {e}", place.display()))?;
        Ok(place)
    };
    let program = fuzz.join(format!("target/{TARGET}/release/{name}"));
    let mut command = std::process::Command::new(program);
    command.arg(format!("-max_total_time={seconds}"));
    // An input that takes ten seconds or two gigabytes is a finding.
    command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1", "-verbosity=1"]);
    command.arg(format!("-artifact_prefix={}/", place("artifacts")?.display()));
    command.args([place("corpus")?, place("seeds")?]);
    run(&mut command)
}

/// The targets' names, in order.
fn targets(fuzz: &Path) -> Result<Vec<String>, String> {
    let directory = fuzz.join("fuzz_targets");
    let listed = std::fs::read_dir(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let names = listed.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned()));
    let mut names: Vec<String> = names.collect();
    names.sort();
    Ok(names)
}
