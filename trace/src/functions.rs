//! Which of a program's functions run: a probe on each of them.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::probe::append;
use crate::{BUFFER, Instance, run};

/// Takes the probes away again.
struct Probes {
    instance: Instance,
}

/// The names, as the linker knows them, of the functions of `program` (a file with its symbols) that run in any process that
/// executes `probed` while `work` goes on: the same file, or a copy of it.
///
/// # Errors
///
/// Those of `work`; where the file has no symbols, or tracefs cannot be used.
pub fn called(
    program: &Path,
    probed: &Path,
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<BTreeSet<String>> {
    use std::fmt::Write as _;
    let functions = functions(program)?;
    let instance = Instance::make()?;
    let mut lines = String::new();
    for (number, (offset, _)) in functions.iter().enumerate() {
        let _ = writeln!(lines, "p:{}/f{number} {}:{offset:#x}", instance.name, probed.display());
    }
    let path = instance.mount.join("uprobe_events");
    append(&path, &lines)?;
    let probes = Probes { instance };
    let group = &probes.instance.name;
    probes.instance.write("buffer_size_kb", BUFFER)?;
    // Some begin with an instruction that cannot be probed: the others are switched on nevertheless.
    let _ = probes.instance.write(&format!("events/{group}/enable"), "1");
    work()?;
    let _ = probes.instance.write(&format!("events/{group}/enable"), "0");
    let hits = probes.instance.read()?;
    let numbers = hits.lines().filter_map(|line| {
        // `  corten-shim-123  [000] DNZff  12.345678: f17: (0x294740)`
        let (_, event) = line.split_once(": f")?;
        event.split(':').next()?.parse::<usize>().ok()
    });
    let called: BTreeSet<String> = numbers.filter_map(|n| Some(functions.get(n)?.1.clone())).collect();
    if called.is_empty() {
        return Err(io::Error::other(format!("no function of {} was called", probed.display())));
    }
    Ok(called)
}

/// The functions' places in the file, and their names.
fn functions(program: &Path) -> io::Result<Vec<(u64, String)>> {
    let program = program.display().to_string();
    let segments = run("readelf", &["--wide", "--segments", &program])?;
    let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    // `  LOAD           0x093740 0x0000000000294740 0x0000000000294740 0x239e60 0x239e60 R E 0x1000`
    let code = segments.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        match fields.as_slice() {
            ["LOAD", offset, address, _, size, _, "R", "E", ..] => {
                Some((hex(offset)?, hex(address)?, hex(size)?))
            }
            _ => None,
        }
    });
    let (offset, address, size) =
        code.ok_or_else(|| io::Error::other(format!("{program} has no segment of code")))?;
    let symbols = run("nm", &["--defined-only", &program])?;
    let functions: Vec<_> = symbols
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let (at, kind, name) = (hex(fields.next()?)?, fields.next()?, fields.next()?);
            let inside = (address..address + size).contains(&at);
            (inside && matches!(kind, "t" | "T" | "w" | "W" | "i"))
                .then(|| (at - address + offset, name.to_owned()))
        })
        .collect();
    if functions.is_empty() {
        return Err(io::Error::other(format!("{program} has no symbols")));
    }
    Ok(functions)
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.instance.close();
        // The whole group: one by one it takes the kernel minutes.
        let _ = append(&self.instance.mount.join("uprobe_events"), &format!("-:{}/\n", self.instance.name));
    }
}
