//! Which of a program's functions run: a breakpoint at the beginning of each, taken away when it is reached. All that a command
//! starts is followed through forks and executions (ptrace(2)), so that it does not matter who executes the programs, from where.
//!
//! A program with 60,000 functions starts 50 ms later by that, and each function costs a dozen microseconds, once in each process.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{at, run};

/// `int3`.
const BREAKPOINT: u8 = 0xcc;
/// So much of two files' beginnings, with the build's id, tells them apart.
const HEAD: usize = 1024;
const PAGE: u64 = 4096;

const ENOENT: i32 = 2;
const ESRCH: i32 = 3;

/// Becomes the command in its arguments when it is told to.
const WAIT: &str = "read go; exec \"$@\"";

/// A program whose functions are looked at.
struct Program {
    head: Vec<u8>,
    length: u64,
    code: Code,
    /// The addresses of the functions that are there, each with its names.
    functions: HashMap<u64, Vec<String>>,
}

/// The segment that is executed.
struct Code {
    offset: u64,
    address: u64,
    bytes: Vec<u8>,
}

/// A process that executes one of them, `moved` by so much from where the file says it is.
#[derive(Clone, Copy)]
struct Process {
    program: usize,
    moved: u64,
}

/// For each of `programs` (files with their symbols) the names, as the linker knows them, of the functions that run in any process that
/// `command` starts and that executes that file or a copy of it. Comes back when all these processes have ended.
///
/// # Errors
///
/// Where a file has no symbols, ptrace(2) is refused, or the command fails.
pub fn called(programs: &[&Path], command: &[&str]) -> io::Result<Vec<BTreeSet<String>>> {
    let programs = programs.iter().map(|path| Program::read(path)).collect::<io::Result<Vec<_>>>()?;
    let mut root = Command::new("sh");
    root.args(["-c", WAIT, "sh"]).args(command).stdin(Stdio::piped());
    let mut root = root.spawn()?;
    let pid = Pid::from_raw(root.id().cast_signed());
    let options = ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACEEXEC
        | ptrace::Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options)?;
    root.stdin.take().ok_or_else(|| io::Error::other("no pipe"))?.write_all(b"\n")?;
    let mut follower =
        Follower { called: vec![BTreeSet::new(); programs.len()], programs, processes: HashMap::new() };
    let ended = follower.follow(pid)?;
    if ended != WaitStatus::Exited(pid, 0) {
        return Err(io::Error::other(format!("{}: {ended:?}", command.join(" "))));
    }
    if follower.called.iter().all(BTreeSet::is_empty) {
        return Err(io::Error::other(format!("{}: runs none of the programs", command.join(" "))));
    }
    Ok(follower.called)
}

struct Follower {
    programs: Vec<Program>,
    called: Vec<BTreeSet<String>>,
    /// By thread; `None` for one of another program.
    processes: HashMap<Pid, Option<Process>>,
}

impl Follower {
    /// Until all have ended; how `root` did.
    fn follow(&mut self, root: Pid) -> io::Result<WaitStatus> {
        let mut ended = WaitStatus::StillAlive;
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => status,
                Err(Errno::ECHILD) => return Ok(ended),
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let Some(pid) = status.pid() else { continue };
            if matches!(status, WaitStatus::Exited(..) | WaitStatus::Signaled(..)) {
                self.processes.remove(&pid);
                if pid == root {
                    ended = status;
                }
                continue;
            }
            match self.go_on(pid, status) {
                // It was killed meanwhile.
                Err(error) if matches!(error.raw_os_error(), Some(ESRCH | ENOENT)) => {}
                done => done?,
            }
        }
    }

    /// Looks why a thread stands still, and lets it go on.
    fn go_on(&mut self, pid: Pid, status: WaitStatus) -> io::Result<()> {
        let signal = match status {
            WaitStatus::PtraceEvent(_, _, event) => {
                if event == ptrace::Event::PTRACE_EVENT_EXEC as i32 {
                    let process = self.recognize(pid);
                    self.processes.insert(pid, process);
                    process.map_or(Ok(()), |process| self.set(pid, process))?;
                }
                None
            }
            WaitStatus::Stopped(_, Signal::SIGTRAP) if self.reached(pid)? => None,
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        Ok(ptrace::cont(pid, signal)?)
    }

    /// Which program a process executes, and where that is.
    fn recognize(&self, pid: Pid) -> Option<Process> {
        let exe = File::open(format!("/proc/{pid}/exe")).ok()?;
        let metadata = exe.metadata().ok()?;
        let mut head = vec![0; HEAD];
        exe.read_exact_at(&mut head, 0).ok()?;
        let program = self.programs.iter().position(|p| p.length == metadata.len() && p.head == head)?;
        let code = &self.programs[program].code;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
        // `55d0c0a00000-55d0c1c50000 r-xp 00766000 fe:00 1234  /usr/bin/cortend`
        let start = maps.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_code = fields.get(1)?.contains('x')
                && fields.get(4)?.parse() == Ok(metadata.ino())
                && u64::from_str_radix(fields.get(2)?, 16) == Ok(code.offset / PAGE * PAGE);
            is_code.then(|| u64::from_str_radix(fields[0].split('-').next()?, 16).ok())?
        })?;
        Some(Process { program, moved: start.wrapping_sub(code.address / PAGE * PAGE) })
    }

    /// Sets the breakpoints of a program that was just executed.
    fn set(&self, pid: Pid, process: Process) -> io::Result<()> {
        let Program { code, functions, .. } = &self.programs[process.program];
        let mut bytes = code.bytes.clone();
        for address in functions.keys() {
            if let Some(byte) = bytes.get_mut(code.index(*address)) {
                *byte = BREAKPOINT;
            }
        }
        memory(pid)?.write_all_at(&bytes, code.address.wrapping_add(process.moved))
    }

    /// Takes away the breakpoint that a thread stands behind, and notes it. False where there is none.
    fn reached(&mut self, pid: Pid) -> io::Result<bool> {
        // A copy of a process that was just made may come here before its maker is heard of.
        let process = match self.processes.get(&pid) {
            Some(process) => *process,
            None => {
                let process = self.recognize(pid);
                self.processes.insert(pid, process);
                process
            }
        };
        let Some(process) = process else { return Ok(false) };
        let Program { code, functions, .. } = &self.programs[process.program];
        let mut registers = ptrace::getregs(pid)?;
        let reached = registers.rip.wrapping_sub(1);
        let address = reached.wrapping_sub(process.moved);
        let Some(names) = functions.get(&address) else { return Ok(false) };
        let byte = code.bytes[code.index(address)];
        memory(pid)?.write_all_at(&[byte], reached)?;
        self.called[process.program].extend(names.iter().cloned());
        registers.rip = reached;
        ptrace::setregs(pid, registers)?;
        Ok(true)
    }
}

fn memory(pid: Pid) -> io::Result<File> {
    File::options().write(true).open(format!("/proc/{pid}/mem"))
}

impl Code {
    fn index(&self, address: u64) -> usize {
        usize::try_from(address.wrapping_sub(self.address)).unwrap_or(usize::MAX)
    }
}

impl Program {
    fn read(path: &Path) -> io::Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| at(path, &e))?;
        let program = path.display().to_string();
        let segments = run("readelf", &["--wide", "--segments", &program])?;
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        // `  LOAD           0x093740 0x0000000000294740 0x0000000000294740 0x239e60 0x239e60 R E 0x1000`
        let code = segments.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ["LOAD", offset, address, _, size, _, "R", "E", ..] = fields.as_slice() else { return None };
            let (offset, address, size) = (hex(offset)?, hex(address)?, hex(size)?);
            let end = usize::try_from(offset + size).ok()?;
            let bytes = bytes.get(usize::try_from(offset).ok()?..end)?.to_vec();
            Some(Code { offset, address, bytes })
        });
        let code = code.ok_or_else(|| io::Error::other(format!("{program} has no segment of code")))?;
        let symbols = run("readelf", &["--wide", "--syms", &program])?;
        let mut functions: HashMap<u64, Vec<String>> = HashMap::new();
        for line in symbols.lines() {
            // `  1234: 0000000000294740   123 FUNC    LOCAL  DEFAULT   15 name`
            let fields: Vec<&str> = line.split_whitespace().collect();
            let [_, address, _, "FUNC" | "IFUNC", .., name] = fields.as_slice() else { continue };
            let Some(address) = hex(address).filter(|address| code.index(*address) < code.bytes.len()) else {
                continue;
            };
            functions.entry(address).or_default().push((*name).to_owned());
        }
        if functions.is_empty() {
            return Err(io::Error::other(format!("{program} has no symbols")));
        }
        let head = bytes.get(..HEAD).unwrap_or(&bytes).to_vec();
        Ok(Self { head, length: bytes.len() as u64, code, functions })
    }
}
