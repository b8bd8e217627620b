//! `--init`: the container's first process does the duties of one, and the program runs as its child.
//!
//! Docker binds a program over `/sbin/docker-init` and executes that. Here the process that made the sandbox stays as
//! the first one, so that no image has to be able to run a program of ours; it carries Docker's name for it.

use std::ffi::{CString, OsString};
use std::io::Write;
use std::os::unix::fs::FileExt;

use sys::caps;
use sys::process::{self, Clone};
use sys::root::{Access, Root};

use crate::failure::at;
use crate::process::Prepared;
use crate::{Failure, handshake, program, seccomp};

/// As Docker's users know it from `docker top`.
const NAME: &str = "/sbin/docker-init";

const ENOENT: i32 = 2;
const ENOTDIR: i32 = 20;

/// Runs the program as a child of this process. Comes back only when that fails.
pub(crate) fn run(
    prepared: Prepared,
    filter: Option<&seccomp::Filter>,
    caller: &handshake::Child,
) -> Failure {
    match try_run(prepared, filter, caller) {
        Ok(never) => match never {},
        Err(failure) => failure,
    }
}

fn try_run(
    prepared: Prepared,
    filter: Option<&seccomp::Filter>,
    caller: &handshake::Child,
) -> Result<std::convert::Infallible, Failure> {
    let held = prepared.capabilities();
    let signals = process::hold_signals().map_err(at("init"))?;
    let child = process::clone_child(&Clone::default(), || {
        process::lead_foreground();
        let failure = prepared.execute(filter, caller);
        caller.failed(&failure);
        1
    })
    .map_err(at("init"))?;
    // No more rights than the program has: the filter that it has, and without what loading it took.
    let confined = filter.map_or(Ok(()), seccomp::Filter::load_alone);
    let confined = confined.and_then(|()| caps::set(held).map_err(at("capabilities")));
    match confined {
        Ok(()) => process::become_reaper(signals, &child),
        Err(failure) => {
            crate::kill::end(&child);
            Err(failure)
        }
    }
}

/// The same as a program of its own, for containers of other runtimes: `words` is a program and its arguments. Comes back
/// only when that fails, with the exit code and why.
pub fn init(words: &[String]) -> (i32, String) {
    let env: Vec<String> = std::env::vars_os().filter_map(variable).collect();
    let run = || -> Result<std::convert::Infallible, Failure> {
        let word = words.first().map(String::as_str).unwrap_or_default();
        let file = program::find(word, &env)?;
        let c_string = |text: &String| {
            CString::new(text.as_str()).map_err(|_| Failure::new("exec", text, "a zero byte in an argument"))
        };
        let argv = words.iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
        let env = env.iter().map(c_string).collect::<Result<Vec<_>, _>>()?;
        let signals = process::hold_signals().map_err(at("init"))?;
        let child = process::clone_child(&Clone::default(), || {
            process::lead_foreground();
            process::reset_signals();
            let failure = program::failed(&process::execute(&file, &argv, &env));
            let (code, why) = told(&failure);
            let _ = writeln!(std::io::stderr(), "{why}");
            code
        })
        .map_err(at("init"))?;
        process::become_reaper(signals, &child)
    };
    match run() {
        Ok(never) => match never {},
        Err(failure) => told(&failure),
    }
}

fn told(failure: &Failure) -> (i32, String) {
    let code = if matches!(failure.errno, ENOENT | ENOTDIR) { 127 } else { 126 };
    (code, failure.detail.clone())
}

/// What is no text no program here can pass on.
fn variable((name, value): (OsString, OsString)) -> Option<String> {
    Some(format!("{}={}", name.to_str()?, value.to_str()?))
}

/// Makes this process look like Docker's init before `args` in `ps` and `top`: the words go over our own, as far as
/// there is room. Only a name: a kernel that forbids it loses nothing.
pub(crate) fn take_name(proc: &Root, args: &[String]) {
    let _ = process::set_name("docker-init");
    let words = [NAME.to_owned(), "--".to_owned()].into_iter().chain(args.iter().cloned());
    let line: Vec<u8> = words.flat_map(|word| word.into_bytes().into_iter().chain([0])).collect();
    let Ok(stat) = proc.read("/self/stat", 4096) else { return };
    let Some((start, end)) = arguments(&String::from_utf8_lossy(&stat)) else { return };
    let Ok(memory) = proc.open_file("/self/mem", Access::Write, 0) else { return };
    let mut text = vec![0; usize::try_from(end - start).unwrap_or(0)];
    // The last byte stays zero: the kernel reads on otherwise (proc(5)).
    let room = text.len().saturating_sub(1).min(line.len());
    text[..room].copy_from_slice(&line[..room]);
    let _ = memory.write_all_at(&text, start);
}

/// Where the arguments lie in memory: fields 48 and 49 of proc(5)'s stat, of which the second is a name that may
/// hold anything.
fn arguments(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let start = fields.nth(45)?.parse().ok()?;
    let end = fields.next()?.parse().ok()?;
    (0 < start && start < end && end - start < 1 << 20).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_found_behind_any_name() {
        let after: Vec<String> = (3..=52).map(|field| field.to_string()).collect();
        let stat = format!("1 (a) b) {}", after.join(" "));
        assert_eq!(arguments(&stat), Some((48, 49)));
        assert_eq!(arguments("1 (x) S 1"), None);
    }
}
