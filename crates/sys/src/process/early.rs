//! What a program does before its C library is there: [`run_read_only`](super::run_read_only) for a runtime's command, whose first
//! execution is thrown away. The C library's own start asks the processor what it is some hundred times, and in a virtual machine
//! each of these CPUID instructions goes to the hypervisor: 0.25 ms, and more for what a Rust program does before `main`.
//!
//! A program gets this by the linker's flag `-e corten_early_start` (ld(1)). Whatever fails here fails again, with words, in
//! `run_read_only`.

#![allow(unsafe_code)]

use core::arch::{asm, global_asm};
use core::ffi::{CStr, c_char};
use core::mem::MaybeUninit;

// At a program's start the stack's top is `argc`, and `rdx` is for the C library (System V ABI, AMD64, 3.4.1): both are as they were
// when its own `_start` is reached. The stack is aligned for the call.
global_asm!(
    ".globl corten_early_start",
    ".type corten_early_start, @function",
    "corten_early_start:",
    "push rdx",
    "push rdx",
    "lea rdi, [rsp + 16]",
    "call {early}",
    "pop rdx",
    "pop rdx",
    "jmp _start",
    early = sym early,
);

/// Commands that make processes in containers.
const COMMANDS: [&[u8]; 3] = [b"create", b"run", b"exec"];
const EXE: &CStr = c"/proc/self/exe";

/// Executes the program again from a read-only mount, if it is to make processes and is not there yet.
///
/// # Safety
/// `stack` is what the kernel gave to the program: `argc`, `argv`, a null, the environment, a null. Nothing of the C library and
/// nothing thread-local works yet, so that there may be no call that is more than arithmetic.
unsafe extern "C" fn early(stack: *const usize) {
    // SAFETY: the kernel's layout of a new program's stack.
    let (argc, argv) = unsafe { (*stack, stack.add(1).cast::<*const c_char>()) };
    // SAFETY: as above: behind `argc` pointers and a null.
    let env = unsafe { argv.add(argc + 1) };
    // SAFETY: there are `argc` nul-terminated words.
    let makes_processes = (1..argc).any(|at| unsafe { is_command(*argv.add(at)) });
    // SAFETY: those strings and arrays.
    if makes_processes && !unsafe { is_read_only() } {
        // SAFETY: as above.
        unsafe { again(argv, env) };
    }
}

unsafe fn is_command(word: *const c_char) -> bool {
    // SAFETY: the byte at `at` is read only if none before it was the nul, and none of a command's bytes is one.
    let begins =
        |command: &[u8]| (0..command.len()).all(|at| unsafe { *word.add(at) }.cast_unsigned() == command[at]);
    // SAFETY: as above.
    COMMANDS.iter().any(|command| begins(command) && unsafe { *word.add(command.len()) } == 0)
}

/// Whether the program's own file is on a read-only mount (statfs(2): `f_flags`, ST_RDONLY). Unknown counts as such.
unsafe fn is_read_only() -> bool {
    // Not cleared: that may be a call.
    let mut system = MaybeUninit::<[usize; 16]>::uninit();
    // SAFETY: a nul-terminated string, and more room than the kernel's struct takes, of which it fills the first 15 words.
    unsafe {
        let done = call(libc::SYS_statfs, [EXE.as_ptr() as usize, system.as_mut_ptr() as usize, 0, 0, 0]);
        done != 0 || *system.as_ptr().cast::<usize>().add(10) & 1 != 0
    }
}

unsafe fn again(argv: *const *const c_char, env: *const *const c_char) {
    const OPEN_TREE: usize = (libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC) as usize;
    const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
    const HERE: usize = libc::AT_FDCWD as usize;
    // SAFETY: nul-terminated strings, a struct of the size that is told, and the arrays that the kernel made itself.
    unsafe {
        let mount = call(libc::SYS_open_tree, [HERE, EXE.as_ptr() as usize, OPEN_TREE, 0, 0]);
        let Ok(mount) = usize::try_from(mount) else { return };
        let nothing = c"".as_ptr() as usize;
        // `struct mount_attr`: set, clear, propagation, userns_fd.
        let attributes = [libc::MOUNT_ATTR_RDONLY, 0, 0, 0];
        let size = size_of_val(&attributes);
        if call(libc::SYS_mount_setattr, [mount, nothing, EMPTY_PATH, attributes.as_ptr() as usize, size])
            == 0
        {
            call(libc::SYS_execveat, [mount, nothing, argv as usize, env as usize, EMPTY_PATH]);
        }
        call(libc::SYS_close, [mount, 0, 0, 0, 0]);
    }
}

/// A system call (syscall(2)): what it returns, or the negated errno.
unsafe fn call(number: libc::c_long, arguments: [usize; 5]) -> isize {
    let [first, second, third, fourth, fifth] = arguments;
    let mut returned = number as isize;
    // SAFETY: the kernel changes rax, rcx and r11 only, and the memory that the caller answers for.
    unsafe {
        asm!("syscall", inlateout("rax") returned, in("rdi") first, in("rsi") second, in("rdx") third, in("r10") fourth,
            in("r8") fifth, out("rcx") _, out("r11") _, options(nostack));
    }
    returned
}
