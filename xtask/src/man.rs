//! `cargo xtask man`: the man pages, made from what the programs say of themselves.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Outcome, root};

/// Writes `corten(1)`, a page for every command, and `cortend(8)` into `target/dist/man/`.
pub(crate) fn man() -> Result<PathBuf, String> {
    let directory = root().join("target/dist/man");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let program = help(&binary("corten")?, &["--help"])?;
    let groups = names(&program, "Management Commands:");
    write(&directory, "corten", 1, "run and build containers", &program)?;
    let mut done = 1;
    let alone = ["Common Commands:", "Commands:"].into_iter().flat_map(|title| names(&program, title));
    for name in alone {
        done += page(&directory, &[&name])?;
    }
    for group in groups.iter().filter(|group| !group.ends_with('*')) {
        let text = help(&binary("corten")?, &[group, "--help"])?;
        done += page(&directory, &[group])?;
        for verb in names(&text, "Commands:") {
            done += page(&directory, &[group, &verb])?;
        }
    }
    let daemon = help(&binary("cortend")?, &["--help"])?;
    write(&directory, "cortend", 8, "the daemon of Corten, a container engine", &daemon)?;
    println!("{} pages", done + 1);
    Ok(directory)
}

fn page(directory: &Path, words: &[&str]) -> Result<usize, String> {
    let text = help(&binary("corten")?, &[words, &["--help"]].concat())?;
    // The second paragraph says in a line what the command does.
    let about = text.split("\n\n").nth(1).unwrap_or_default().trim().to_owned();
    write(directory, &format!("corten-{}", words.join("-")), 1, &about, &text)?;
    Ok(1)
}

/// As it ships, or as it was built last.
fn binary(name: &str) -> Result<PathBuf, String> {
    let places = ["target/dist", "target/release", "target/debug"].map(|place| root().join(place).join(name));
    places
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| format!("{name} is not built: cargo xtask build"))
}

fn help(program: &Path, arguments: &[&str]) -> Result<String, String> {
    // Neither plugins nor a configuration of this machine's belong into the pages.
    let nowhere = root().join("target/dist/man");
    let output = Command::new(program).args(arguments).env("DOCKER_CONFIG", nowhere).output();
    let output = output.map_err(|e| format!("{}: {e}", program.display()))?;
    if !output.status.success() {
        return Err(format!("{} {}: {}", program.display(), arguments.join(" "), output.status));
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let directory = root().join("target/dist/man").display().to_string();
    Ok(text.replace(&directory, "~/.docker"))
}

/// The first words of the lines below a title.
fn names(text: &str, title: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| *line != title).skip(1);
    lines
        .take_while(|line| line.starts_with("  "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect()
}

fn write(directory: &Path, name: &str, section: u8, about: &str, help: &str) -> Outcome {
    let path = directory.join(format!("{name}.{section}"));
    std::fs::write(&path, roff(name, section, about, help)).map_err(|e| format!("{}: {e}", path.display()))
}

/// A help text as a page: what ends with a colon is a section, what begins with a dash an item.
fn roff(name: &str, section: u8, about: &str, help: &str) -> String {
    let is_usage = |line: &&str| line.starts_with("Usage:");
    let usage = help.lines().skip_while(|line| !is_usage(line)).take_while(|line| !line.is_empty());
    let usage: Vec<_> = usage.map(|line| escape(line.trim_start_matches("Usage:").trim())).collect();
    let mut out = format!(
        ".TH {} {section} \"\" Corten\n.SH NAME\n{} \\- {}\n.SH SYNOPSIS\n.B {}\n.SH DESCRIPTION\n",
        name.to_uppercase(),
        escape(name),
        escape(about),
        usage.join("\n.br\n.B ")
    );
    let (mut items, mut in_usage) = (false, false);
    for line in help.lines() {
        let text = line.trim();
        let is_item = text.starts_with('-') && line.starts_with("  ");
        in_usage = is_usage(&line) || (in_usage && !text.is_empty());
        if in_usage {
            continue;
        }
        if !line.starts_with(' ') && text.ends_with(':') {
            items = true;
            out.push_str(&format!(".SH {}\n", escape(&text.trim_end_matches(':').to_uppercase())));
        } else if text.is_empty() {
            out.push_str(".PP\n");
        } else if is_item || (items && line.starts_with("  ") && !line.starts_with("      ")) {
            let (flag, rest) = text.split_once("  ").unwrap_or((text, ""));
            out.push_str(&format!(".TP\n.B {}\n{}\n", escape(flag), escape(rest.trim())));
        } else {
            out.push_str(&format!("{}\n", escape(text)));
        }
    }
    out
}

/// Dashes that can be copied, and no line that is a request.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
