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
const SHIFT_RIGHT: u8 = 0x77;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const JUMP_NOT_EQUAL: u8 = 0x55;
const JUMP_EQUAL: u8 = 0x15;
const EXIT: u8 = 0x95;

/// Registers: r1 is the context on entry, r0 the answer.
const ANSWER: u8 = 0;
const SCRATCH: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program: 1 (allowed) or 0 for one access (`struct bpf_cgroup_dev_ctx`).
fn compile(policy: &DevicePolicy) -> Vec<Instruction> {
    let mut program = Vec::new();
    let mut push = |code, destination: u8, source: u8, offset: i16, immediate: i32| {
        program.push(Instruction { code, registers: source << 4 | destination, offset, immediate });
    };
    // access_type is access << 16 | kind.
    push(LOAD_WORD, KIND, SCRATCH, 0, 0);
    push(MOVE_REGISTER, ACCESS, KIND, 0, 0);
    push(AND, KIND, 0, 0, 0xffff);
    push(SHIFT_RIGHT, ACCESS, 0, 0, 16);
    push(LOAD_WORD, MAJOR, SCRATCH, 4, 0);
    push(LOAD_WORD, MINOR, SCRATCH, 8, 0);
    for exception in &policy.exceptions {
        let kind = match exception.kind {
            DeviceKind::Block => 1,
            DeviceKind::Character => 2,
        };
        let numbers = [(MAJOR, exception.major), (MINOR, exception.minor)];
        let numbers: Vec<(u8, u32)> = numbers.iter().filter_map(|(r, n)| Some((*r, (*n)?))).collect();
        // What follows the tests of kind and numbers: three on the access, two for the answer.
        let mut left = numbers.len() as i16 + 5;
        push(JUMP_NOT_EQUAL, KIND, 0, left, kind);
        for (register, number) in numbers {
            left -= 1;
            push(JUMP_NOT_EQUAL, register, 0, left, number.cast_signed());
        }
        push(MOVE_REGISTER, SCRATCH, ACCESS, 0, 0);
        if policy.allow_by_default {
            // Forbidden when any access that is asked for is in the exception.
            push(AND, SCRATCH, 0, 0, exception.access.0.cast_signed());
            push(JUMP_EQUAL, SCRATCH, 0, 2, 0);
        } else {
            // Allowed when no access that is asked for is outside of it.
            push(AND, SCRATCH, 0, 0, (!exception.access.0 & DeviceAccess::ALL.0).cast_signed());
            push(JUMP_NOT_EQUAL, SCRATCH, 0, 2, 0);
        }
        push(MOVE, ANSWER, 0, 0, i32::from(!policy.allow_by_default));
        push(EXIT, 0, 0, 0, 0);
    }
    push(MOVE, ANSWER, 0, 0, i32::from(policy.allow_by_default));
    push(EXIT, 0, 0, 0, 0);
    program
}

/// Asks the program about every access of a cgroup's processes, from now until the cgroup is removed.
pub(super) fn restrict(cgroup: BorrowedFd<'_>, label: &str, policy: &DevicePolicy) -> Result<()> {
    let program = load(&compile(policy))?;
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
    fn what_is_refused_is_the_exception() {
        let exceptions = vec![character(5, DeviceAccess::WRITE), character(7, DeviceAccess::ALL)];
        let policy = DevicePolicy { allow_by_default: true, exceptions };
        assert_eq!(in_a_cgroup("allow", &policy), "rw.r..");
    }
}
