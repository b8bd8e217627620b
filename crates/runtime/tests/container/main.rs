//! Containers of busybox, made for real. One thread: `runtime::create` refuses a process with more.
//!
//! Understands what cargo and nextest say to a test program: names to filter by, `--exact`, `--skip=<name>`, `--list`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![allow(clippy::print_stdout, reason = "as a test program should")]

mod attacks;
mod config;
mod fixture;
mod limits;
mod lookup;
mod measure;
mod sandbox;
mod security;
mod verbs;

use std::panic::catch_unwind;
use std::process::ExitCode;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    let tests: Vec<Test> = [
        sandbox::TESTS,
        lookup::TESTS,
        security::TESTS,
        attacks::TESTS,
        limits::TESTS,
        config::TESTS,
        verbs::TESTS,
    ]
    .concat();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("--list") {
        let ignored = has("--ignored");
        tests.iter().filter(|_| !ignored).for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if has("--measure") {
        measure::measure();
        fixture::clean_up();
        return ExitCode::SUCCESS;
    }
    let filters: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let skipped: Vec<&str> = arguments.iter().filter_map(|a| a.strip_prefix("--skip=")).collect();
    let chosen = |name: &str| {
        !skipped.iter().any(|skip| name.contains(skip))
            && (filters.is_empty()
                || filters
                    .iter()
                    .any(|f| if has("--exact") { *f == name } else { name.contains(f.as_str()) }))
    };
    let mut failed = Vec::new();
    for (name, test) in tests.into_iter().filter(|(name, _)| chosen(name)) {
        let passed = catch_unwind(test).is_ok();
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        if !passed {
            failed.push(name);
        }
    }
    fixture::clean_up();
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("failed: {}", failed.join(", "));
    ExitCode::FAILURE
}
