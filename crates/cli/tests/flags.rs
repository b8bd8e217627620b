//! The commands and flags we promise: Docker's, with its short forms, kinds and defaults.
//!
//! `flags.txt` holds a line per command, `path | other spellings |`, and below it, indented, its flags:
//! `-s,--long:kind=default`. A flag without a kind is a boolean.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test starts the program")]

use std::collections::BTreeMap;

const PROMISED: &str = include_str!("flags.txt");

/// A flag's short form, kind and default.
type Flag = (String, String, String);

/// The options that a command's help shows.
fn shown(path: &str) -> Option<BTreeMap<String, Flag>> {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_corten"));
    let output = program.args(path.split(' ')).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    if !output.status.success() || !help.starts_with(&format!("Usage:  corten {path} ")) {
        return None;
    }
    let mut flags = BTreeMap::new();
    let mut last = String::new();
    for line in help.lines() {
        if let Some(option) =
            line.strip_prefix("  ").filter(|l| l.starts_with('-') || l.starts_with("    --"))
        {
            let (left, text) = option.trim_start().split_once("   ").unwrap_or((option, ""));
            let (short, long) = left.split_once(", ").unwrap_or(("", left));
            let (long, kind) = long.trim().split_once(' ').unwrap_or((long.trim(), ""));
            last = long.to_owned();
            assert!(!text.trim().is_empty(), "{path} {long} has no help");
            flags.insert(last.clone(), (short.to_owned(), kind.to_owned(), text.trim().to_owned()));
        } else if let Some((_, _, text)) = flags.get_mut(&last).filter(|_| line.starts_with("        ")) {
            text.push(' ');
            text.push_str(line.trim());
        }
    }
    flags.values_mut().for_each(|(_, _, text)| *text = default(text));
    Some(flags)
}

/// `x` of `… (default "x")`, a single word.
fn default(text: &str) -> String {
    let value = text.rsplit_once("(default ").and_then(|(_, rest)| rest.trim().strip_suffix(')'));
    value.filter(|value| !value.contains(' ')).unwrap_or_default().trim_matches('"').to_owned()
}

#[test]
fn every_promised_flag_is_there() {
    let (mut commands, mut wrong) = (0, Vec::new());
    let mut found = BTreeMap::new();
    let mut path = "";
    for line in PROMISED.lines() {
        if let Some(flags) = line.strip_prefix("    ") {
            for promised in flags.split(' ') {
                let (rest, default) = promised.split_once('=').unwrap_or((promised, ""));
                let (names, kind) = rest.split_once(':').unwrap_or((rest, ""));
                let (short, long) = names.split_once(',').unwrap_or(("", names));
                let wanted = (short.to_owned(), kind.to_owned(), default.to_owned());
                match found.get(long) {
                    Some(flag) if *flag == wanted => {}
                    other => wrong.push(format!("{path} {promised}: {other:?}")),
                }
            }
            continue;
        }
        let mut names = line.split(" | ");
        path = names.next().unwrap();
        commands += 1;
        let others = names.next().unwrap_or_default().trim_end_matches('|').trim();
        for other in others.split(", ").filter(|other| !other.is_empty()) {
            if shown(other).is_none() {
                wrong.push(format!("{other}: no such command"));
            }
        }
        found = shown(path).unwrap_or_else(|| {
            wrong.push(format!("{path}: no such command"));
            BTreeMap::new()
        });
    }
    assert!(commands > 25, "flags.txt is not read");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
