//! A probe on the C library's allocator: what Rust's `System` allocator calls.

use std::io;
use std::path::Path;

use crate::{at, run};

/// What their names begin with.
pub(crate) const EVENT: &str = "malloc";

/// The functions that give memory.
const FUNCTIONS: [&str; 4] = ["malloc", "calloc", "realloc", "posix_memalign"];

/// Sets the probes in the library that this machine's programs use, as events of `group`.
pub(crate) fn set(mount: &Path, group: &str) -> io::Result<()> {
    let library = library()?;
    let symbols = run("readelf", &["--wide", "--dyn-syms", &library])?;
    let path = mount.join("uprobe_events");
    for function in FUNCTIONS {
        let address = address(&symbols, function)
            .ok_or_else(|| io::Error::other(format!("{library} has no {function}")))?;
        let line = format!("p:{group}/{EVENT}_{function} {library}:{address:#x}\n");
        append(&path, &line)?;
    }
    Ok(())
}

/// Takes them away.
pub(crate) fn clear(mount: &Path, group: &str) {
    for function in FUNCTIONS {
        let _ = append(&mount.join("uprobe_events"), &format!("-:{group}/{EVENT}_{function}\n"));
    }
}

/// Adds to a list of the kernel's, such as `uprobe_events`.
pub(crate) fn append(path: &Path, lines: &str) -> io::Result<()> {
    use io::Write as _;
    let file = std::fs::File::options().append(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|e| at(path, &e))
}

/// The C library that this program runs with.
fn library() -> io::Result<String> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let line = maps.lines().find(|line| line.ends_with("/libc.so.6"));
    let path = line.and_then(|line| line.split_whitespace().next_back());
    path.map(str::to_owned).ok_or_else(|| io::Error::other("this program has no C library that is shared"))
}

/// A function's place in the file. In glibc the segment of code lies in the file where it lies in memory.
fn address(symbols: &str, function: &str) -> Option<u64> {
    symbols.lines().find_map(|line| {
        //   2018: 00000000000a1234   432 FUNC    GLOBAL DEFAULT   16 malloc@@GLIBC_2.2.5
        let mut fields = line.split_whitespace();
        let value = fields.nth(1)?;
        let name = fields.next_back()?;
        let same = name.split('@').next() == Some(function) && line.contains(" FUNC ");
        same.then(|| u64::from_str_radix(value, 16).ok()).flatten()
    })
}
