//! Access to devices by a cgroup's processes, on v2: an eBPF program that the kernel asks (bpf(2)).

use std::ffi::c_long;
use std::fmt;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::flags::flags;
use crate::{Error, Result};

/// What may be used: a default and the devices for which the contrary holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DevicePolicy {
    /// Whether devices without an exception are allowed.
    pub allow_by_default: bool,
    /// Allowed accesses, or forbidden ones.
    pub exceptions: Vec<DeviceException>,
}

/// One exception. Displays as a line of v1's `devices.list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceException {
    /// The kind of device.
    pub kind: DeviceKind,
    /// Its major number; `None` is any.
    pub major: Option<u32>,
    /// Its minor number; `None` is any.
    pub minor: Option<u32>,
    /// The accesses.
    pub access: DeviceAccess,
}

/// The kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// Bytes, as terminals.
    Character,
    /// Blocks, as disks.
    Block,
}

/// A set of accesses (linux/bpf.h, `BPF_DEVCG_ACC_…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceAccess(u32);

flags!(DeviceAccess);

impl DeviceAccess {
    /// mknod(2).
    pub const MAKE: Self = Self(1);
    /// Opening for reading.
    pub const READ: Self = Self(2);
    /// Opening for writing.
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);
}

impl fmt::Display for DeviceException {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            DeviceKind::Character => 'c',
            DeviceKind::Block => 'b',
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (bit, letter) in
            [(DeviceAccess::READ, 'r'), (DeviceAccess::WRITE, 'w'), (DeviceAccess::MAKE, 'm')]
        {
            if self.access.0 & bit.0 != 0 {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// One instruction of eBPF (linux/bpf.h, `struct bpf_insn`).
#[derive(Debug, Clone, Copy)]
#[repr(C)]
struct Instruction {
    code: u8,
    /// Destination in the low four bits, source in the high ones.
    registers: u8,
    offset: i16,
    immediate: i32,
}

// Operations (linux/bpf_common.h, linux/bpf.h) that the program needs.
const LOAD_WORD: u8 = 0x61;
const AND: u8 = 0x57;
const OR_REGISTER: u8 = 0x4f;
const SHIFT_LEFT: u8 = 0x67;
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP: u8 = 0x05;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_EQUAL: u8 = 0x15;
/// Of the low 32 bits (Linux 5.1).
const JUMP_NOT_EQUAL_32: u8 = 0x56;
const JUMP_EQUAL_32: u8 = 0x16;
const EXIT: u8 = 0x95;

/// Registers: r1 is the context on entry, r0 the answer.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
/// Both numbers in one, as the kernel itself keeps them.
const DEVICE: u8 = 6;

/// The bits of the numbers (linux/kdev_t.h).
const MINOR_BITS: u32 = 20;
const MAJOR_BITS: u32 = 12;

/// A program while it is written.
#[derive(Default)]
struct Program {
    instructions: Vec<Instruction>,
    /// The jumps that lead to the answer for an exception.
    to_exception: Vec<usize>,
}

impl Program {
    fn push(&mut self, code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> usize {
        let registers = source << 4 | destination;
        self.instructions.push(Instruction { code, registers, offset, immediate });
        self.instructions.len() - 1
    }

    /// Lets a jump lead to what is written next.
    fn land(&mut self, jump: usize) {
        self.instructions[jump].offset = (self.instructions.len() - jump - 1) as i16;
    }

    fn except(&mut self, code: u8, register: u8, immediate: i32) {
        let jump = self.push(code, register, 0, 0, immediate);
        self.to_exception.push(jump);
    }

    fn answer(&mut self, allowed: bool) {
        self.push(MOVE, ANSWER, 0, 0, i32::from(allowed));
        self.push(EXIT, 0, 0, 0, 0);
    }

    /// One exception of the kind that is looked at. The kernel's verifier takes both ways at each jump, so there are as few as can be.
    fn exception(&mut self, exception: &DeviceException, allow_by_default: bool) {
        let number = match (exception.major, exception.minor) {
            (None, None) => None,
            (Some(major), None) => Some((MAJOR, major)),
            (None, Some(minor)) => Some((MINOR, minor)),
            (Some(major), Some(minor)) => Some((DEVICE, major << MINOR_BITS | minor)),
        };
        if !allow_by_default && exception.access == DeviceAccess::ALL {
            // No access that is asked for can be outside of it.
            match number {
                Some((register, number)) => self.except(JUMP_EQUAL_32, register, number.cast_signed()),
                None => self.except(JUMP, 0, 0),
            }
            return;
        }
        let another = number
            .map(|(register, number)| self.push(JUMP_NOT_EQUAL_32, register, 0, 0, number.cast_signed()));
        self.push(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0);
        if allow_by_default {
            // Forbidden when any access that is asked for is in the exception.
            self.push(AND, SCRATCH, 0, 0, exception.access.0.cast_signed());
            self.except(JUMP_NOT_EQUAL, SCRATCH, 0);
        } else {
            // Allowed when no access that is asked for is outside of it.
            self.push(AND, SCRATCH, 0, 0, (!exception.access.0 & DeviceAccess::ALL.0).cast_signed());
            self.except(JUMP_EQUAL, SCRATCH, 0);
        }
        if let Some(jump) = another {
            self.land(jump);
        }
    }
}

/// The program: 1 (allowed) or 0 for one access (`struct bpf_cgroup_dev_ctx`). `None`: longer than its jumps can be.
fn compile(policy: &DevicePolicy) -> Option<Vec<Instruction>> {
    let mut program = Program::default();
    // access_type is access << 16 | kind.
    program.push(LOAD_WORD, KIND, SCRATCH, 0, 0);
    program.push(MOVE_REGISTER, ACCESS, KIND, 0, 0);
    program.push(AND, KIND, 0, 0, 0xffff);
    program.push(SHIFT_RIGHT, ACCESS, 0, 0, 16);
    program.push(LOAD_WORD, MAJOR, SCRATCH, 4, 0);
    program.push(LOAD_WORD, MINOR, SCRATCH, 8, 0);
    program.push(MOVE_REGISTER, DEVICE, MAJOR, 0, 0);
    program.push(SHIFT_LEFT, DEVICE, 0, 0, MINOR_BITS.cast_signed());
    program.push(OR_REGISTER, DEVICE, MINOR, 0, 0);
    for (kind, number) in [(DeviceKind::Character, 2), (DeviceKind::Block, 1)] {
        // No device has numbers that the kernel has no room for.
        let can_be = |e: &&DeviceException| {
            e.kind == kind
                && e.major.is_none_or(|n| n >> MAJOR_BITS == 0)
                && e.minor.is_none_or(|n| n >> MINOR_BITS == 0)
        };
        let exceptions: Vec<_> = policy.exceptions.iter().filter(can_be).collect();
        if exceptions.is_empty() {
            continue;
        }
        let other = program.push(JUMP_NOT_EQUAL, KIND, 0, 0, number);
        for exception in exceptions {
            program.exception(exception, policy.allow_by_default);
            if program.instructions.last().is_some_and(|last| last.code == JUMP) {
                break;
            }
        }
        // After an exception of everything nothing is reached, which the verifier refuses.
        if program.instructions.last().is_none_or(|last| last.code != JUMP) {
            program.answer(policy.allow_by_default);
        }
        program.land(other);
    }
    program.answer(policy.allow_by_default);
    let to_exception = std::mem::take(&mut program.to_exception);
    if !to_exception.is_empty() {
        to_exception.iter().for_each(|jump| program.land(*jump));
        program.answer(!policy.allow_by_default);
    }
    (i16::try_from(program.instructions.len()).is_ok()).then_some(program.instructions)
}

/// Asks the program about every access of a cgroup's processes, from now until the cgroup is removed.
pub(super) fn restrict(cgroup: BorrowedFd<'_>, label: &str, policy: &DevicePolicy) -> Result<()> {
    let program = compile(policy).ok_or_else(|| {
        Error::new("load", "the device program", std::io::Error::from_raw_os_error(libc::E2BIG))
    })?;
    let program = load(&program)?;
    /// The part of `union bpf_attr` for BPF_PROG_ATTACH.
    #[repr(C)]
    struct Attach {
        target_fd: u32,
        program_fd: u32,
        attach_type: u32,
        flags: u32,
    }
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attach = Attach {
        target_fd: cgroup.as_raw_fd().cast_unsigned(),
        program_fd: program.as_raw_fd().cast_unsigned(),
        attach_type: CGROUP_DEVICE,
        flags: ALLOW_MULTI,
    };
    const PROG_ATTACH: c_long = 8;
    // SAFETY: the kernel reads a struct of the size that is passed; it takes its own hold on both descriptors.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, PROG_ATTACH, &raw const attach, size_of::<Attach>()) };
    if answer < 0 {
        return Err(Error::new("attach the device program to", label, std::io::Error::last_os_error()));
    }
    Ok(())
}

fn load(program: &[Instruction]) -> Result<OwnedFd> {
    /// The part of `union bpf_attr` for BPF_PROG_LOAD that is not zero.
    #[repr(C)]
    struct Load {
        program_type: u32,
        count: u32,
        instructions: u64,
        license: u64,
        log_level: u32,
        log_size: u32,
        log: u64,
        kernel_version: u32,
        flags: u32,
    }
    const CGROUP_DEVICE: u32 = 15;
    const PROG_LOAD: c_long = 5;
    let load = Load {
        program_type: CGROUP_DEVICE,
        count: program.len() as u32,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads a struct of the size that is passed, and the instructions and string that it
    // points to, all alive during the call.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, PROG_LOAD, &raw const load, size_of::<Load>()) };
    if answer < 0 {
        return Err(Error::new("load", "the device program", std::io::Error::last_os_error()));
    }
    // SAFETY: the answer is a new descriptor (close-on-exec by itself) that is ours alone.
    Ok(unsafe { OwnedFd::from_raw_fd(answer as i32) })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::cgroup::Cgroup;

    /// Opens each path in a process of `cgroup`, and says which could be.
    fn openable(cgroup: &Cgroup, paths: &[&str]) -> String {
        let script = "read go; for f in \"$@\"; do (: < $f) 2>/dev/null && echo -n r; \
                      (: > $f) 2>/dev/null && echo -n w; echo -n .; done";
        let busybox = std::fs::File::open("/bin/busybox").expect("this test needs /bin/busybox");
        let (go_read, go_write) = std::io::pipe().unwrap();
        let (out_read, out_write) = std::io::pipe().unwrap();
        let arguments = [&["sh", "-c", script, "sh"], paths].concat();
        let fds = [(go_read.as_fd(), 0), (out_write.as_fd(), 1)];
        let child = crate::process::spawn(busybox.as_fd(), &arguments, &[], &fds).unwrap();
        cgroup.add(child.pid).unwrap();
        drop((go_read, out_write, go_write));
        let text = std::io::read_to_string(out_read).unwrap();
        crate::process::reap(child.pidfd.as_fd()).unwrap();
        text
    }

    /// On a hybrid host the unified hierarchy takes the program as well.
    fn in_a_cgroup(name: &str, policy: &DevicePolicy) -> String {
        let cgroup = Cgroup::create(&format!("/ct-sys-{}-{name}", std::process::id())).unwrap();
        let unified = cgroup.unified().expect("this test needs a cgroup v2 mount");
        restrict(unified, name, policy).unwrap();
        let text = openable(&cgroup, &["/dev/null", "/dev/zero", "/dev/full"]);
        cgroup.remove().unwrap();
        text
    }

    fn character(minor: u32, access: DeviceAccess) -> DeviceException {
        DeviceException { kind: DeviceKind::Character, major: Some(1), minor: Some(minor), access }
    }

    #[test]
    fn what_is_not_allowed_is_refused() {
        let exceptions = vec![
            DeviceException { kind: DeviceKind::Block, major: None, minor: None, access: DeviceAccess::ALL },
            character(3, DeviceAccess::ALL),
            character(5, DeviceAccess::READ),
        ];
        let policy = DevicePolicy { allow_by_default: false, exceptions };
        assert_eq!(in_a_cgroup("deny", &policy), "rw.r..");
    }

    #[test]
    fn what_can_be_no_device_is_no_exception() {
        let far = DeviceException { minor: Some(1 << MINOR_BITS | 3), ..character(0, DeviceAccess::ALL) };
        let any = DeviceException { major: None, ..character(5, DeviceAccess::READ) };
        let all = DeviceException { minor: None, ..character(0, DeviceAccess::WRITE) };
        let policy = |exceptions: &[DeviceException]| DevicePolicy {
            allow_by_default: false,
            exceptions: exceptions.to_vec(),
        };
        // The shell needs it.
        let null = character(3, DeviceAccess::ALL);
        assert_eq!(in_a_cgroup("far", &policy(&[far, any, null])), "rw.r..");
        assert_eq!(in_a_cgroup("all", &policy(&[all, any])), "w.rw.w.");
        let everything = DeviceException { major: None, minor: None, ..character(0, DeviceAccess::ALL) };
        assert_eq!(in_a_cgroup("everything", &policy(&[any, everything, all])), "rw.rw.rw.");
    }

    #[test]
    fn what_is_refused_is_the_exception() {
        let exceptions = vec![character(5, DeviceAccess::WRITE), character(7, DeviceAccess::ALL)];
        let policy = DevicePolicy { allow_by_default: true, exceptions };
        assert_eq!(in_a_cgroup("allow", &policy), "rw.r..");
    }
}
