//! The functions that run at each start lie together in the programs' files: a process maps a file in pieces of 64 KB around
//! what it touches, so that what is scattered makes it large, and each piece is a fault.
//!
//! A crate's `layout.txt` lists them, those that run first in front, without the parts of their names that change with the
//! compiler. It says nothing about what the program does: a name that is gone or missing costs some memory, no more.
//! [`link`] makes of it what the linker takes; `cargo xtask layout` writes the lists anew, in half a minute after the build.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bench::{PROGRAMS, functions, piece};
use crate::{Outcome, build, root};

/// Says that this program is called as a linker.
pub(crate) const LINKER: &str = "CORTEN_LINK_LAYOUT";

fn file(room: &str) -> PathBuf {
    root().join("crates").join(room).join("layout.txt")
}

/// Has a build link with this program.
pub(crate) fn arrange(build: &mut Command) -> Outcome {
    let this = std::env::current_exe().map_err(|e| format!("this program's path: {e}"))?;
    let target = build::TARGET.replace('-', "_").to_uppercase();
    build.env(format!("CARGO_TARGET_{target}_LINKER"), this).env(LINKER, "1");
    Ok(())
}

/// Becomes the C compiler that links, with the order of the functions where its linker takes one.
pub(crate) fn link(arguments: &[String]) -> Outcome {
    let mut cc = Command::new("cc");
    let order = order(arguments)?;
    // The library that unwinds becomes part of the program. By itself it is one more to be found, mapped and relocated at each
    // start, and it asks the processor what it is once more: an eighth of `version --client`.
    for argument in arguments {
        match argument.as_str() {
            "-lgcc_s" if order.is_some() => cc.args(["-lgcc_eh", "-lgcc"]),
            _ => cc.arg(argument),
        };
    }
    if let Some(order) = order {
        cc.arg(format!("-Wl,--symbol-ordering-file={}", order.display()))
            .arg("-Wl,--no-warn-symbol-ordering");
    }
    Err(format!("cc: {}", cc.exec()))
}

/// The file of the order, beside what is linked. None for other programs than ours.
fn order(arguments: &[String]) -> Result<Option<PathBuf>, String> {
    let Some(output) = arguments.iter().skip_while(|a| *a != "-o").nth(1).map(PathBuf::from) else {
        return Ok(None);
    };
    // `corten_shim-0123456789abcdef`
    let name = output.file_name().map(|name| name.to_string_lossy().replace('_', "-")).unwrap_or_default();
    let of = |program: &str| name.rsplit_once('-').is_some_and(|(name, _)| name == program);
    let Some((_, room)) = PROGRAMS.iter().find(|(program, _)| of(program)) else { return Ok(None) };
    if !arguments.iter().any(|a| a == "-fuse-ld=lld") {
        return Ok(None);
    }
    let layout = file(room);
    let text = std::fs::read_to_string(&layout).map_err(|e| format!("{}: {e}", layout.display()))?;
    let objects = arguments.iter().filter(|a| a.ends_with(".o") || a.ends_with(".rlib"));
    let mut nm = Command::new("nm");
    nm.args(["--defined-only", "--format=posix"]).args(objects).stderr(Stdio::null());
    let symbols = nm.output().map_err(|e| format!("nm: {e}"))?.stdout;
    let symbols = String::from_utf8_lossy(&symbols);
    let mut full: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for name in symbols.lines().filter_map(|line| line.split_whitespace().next()) {
        full.entry(lasting(name)).or_default().push(name);
    }
    // The C library's objects are not among the arguments; its names are the same everywhere.
    let names = text.lines().flat_map(|name| full.get(name).cloned().unwrap_or_else(|| vec![name]));
    let names: Vec<&str> = names.collect();
    let order = output.with_extension("order");
    std::fs::write(&order, names.join("\n")).map_err(|e| format!("{}: {e}", order.display()))?;
    Ok(Some(order))
}

/// A function's name as the source has it, generic arguments and all, without the hashes that each build chooses anew, and without
/// what LLVM adds.
fn lasting(name: &str) -> String {
    let name = name.split(".llvm.").next().unwrap_or(name);
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Writes the lists anew, from what runs in containers' lives and as a runtime. With a word and the directory of the programs it does
/// that work: see [`functions`].
pub(crate) fn layout(arguments: &[String]) -> Outcome {
    if let [word, dist] = arguments {
        return piece(word, Path::new(dist));
    }
    let directory = root().join("target/layout");
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    for (program, named) in build::named()? {
        std::fs::copy(&named, directory.join(program)).map_err(|e| format!("{}: {e}", named.display()))?;
    }
    let found = functions(&directory)?;
    for ((_, room), sets) in PROGRAMS.iter().zip(found) {
        let mut names: Vec<String> = Vec::new();
        let mut known = BTreeSet::new();
        for set in sets {
            let set: BTreeSet<String> = set.iter().map(|name| lasting(name)).collect();
            names.extend(set.into_iter().filter(|name| known.insert(name.clone())));
        }
        let text: String = names.iter().map(|name| format!("{name}\n")).collect();
        let file = file(room);
        // The same once more would have the program built once more.
        if std::fs::read_to_string(&file).ok().as_ref() != Some(&text) {
            std::fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        println!("{} functions in {}", names.len(), file.display());
    }
    Ok(())
}
