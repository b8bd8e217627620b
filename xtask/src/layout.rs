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
    let linked = program(arguments);
    let order = linked.as_ref().map(|(_, room, output)| order(arguments, room, output)).transpose()?;
    // Libraries have to be found, mapped and relocated at each start. The one that unwinds becomes part of the programs, and
    // the C library part of the one that starts at every command: a third of `version --client`. The daemon's stays outside,
    // because it loads the machine's name services.
    let whole = linked.is_some_and(|(program, ..)| program == "corten");
    for argument in arguments {
        match argument.as_str() {
            "-lgcc_s" if whole => {
                cc.args(["-Wl,--start-group", "-lgcc_eh", "-lgcc", "-lc", "-Wl,--end-group"])
            }
            "-lgcc_s" if order.is_some() => cc.args(["-lgcc_eh", "-lgcc"]),
            "-Wl,-Bdynamic" if whole => &mut cc,
            _ => cc.arg(argument),
        };
    }
    if whole {
        cc.arg("-static");
    }
    if let Some(order) = order {
        cc.arg(format!("-Wl,--symbol-ordering-file={}", order.display()))
            .arg("-Wl,--no-warn-symbol-ordering");
    }
    Err(format!("cc: {}", cc.exec()))
}

/// Which of our programs is linked, its crate's directory, and the file that is made. None for others.
fn program(arguments: &[String]) -> Option<(&'static str, &'static str, PathBuf)> {
    let output = PathBuf::from(arguments.iter().skip_while(|a| *a != "-o").nth(1)?);
    // `corten_shim-0123456789abcdef`
    let name = output.file_name()?.to_string_lossy().replace('_', "-");
    let (name, _) = name.rsplit_once('-')?;
    let (program, room) = PROGRAMS.iter().find(|(program, _)| *program == name)?;
    arguments.iter().any(|a| a == "-fuse-ld=lld").then_some((*program, *room, output))
}

/// The file of the order, beside what is linked.
fn order(arguments: &[String], room: &str, output: &Path) -> Result<PathBuf, String> {
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
    Ok(order)
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
