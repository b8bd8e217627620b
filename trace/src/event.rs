//! A line of the kernel's trace.

/// Something that a thread did.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Seconds of the monotonic clock.
    pub time: f64,
    /// The thread's name as the kernel has it: 15 bytes at most.
    pub name: String,
    /// The thread.
    pub thread: u32,
    /// What it did.
    pub what: What,
}

/// What a thread did.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It called the kernel.
    Call {
        /// The system call, without its `sys_`.
        call: String,
        /// Its arguments, as the kernel prints them.
        arguments: String,
    },
    /// The kernel gave back control.
    Return {
        /// The system call.
        call: String,
        /// What it returned; negative is an errno.
        value: i64,
    },
    /// It made a process or thread.
    Fork {
        /// The new one.
        child: u32,
    },
    /// It became another program.
    Exec {
        /// The program's path.
        path: String,
    },
    /// It ended.
    End,
    /// It asked the allocator for memory.
    Allocation,
}

/// Reads `  cortend-123   [001] .....   45.678901: sys_close(fd: 3)`; nothing for what is no event of ours.
pub(crate) fn parse(line: &str) -> Option<Event> {
    // A name may hold anything, a processor's number in brackets is the first thing after it that is sure.
    let (task, rest) = line.split_once(" [")?;
    let (name, thread) = task.trim().rsplit_once('-')?;
    let mut words = rest.splitn(2, ": ");
    let time = words.next()?.split_whitespace().next_back()?.parse().ok()?;
    let what = what(words.next()?.trim_end())?;
    Some(Event { time, name: name.to_owned(), thread: thread.trim().parse().ok()?, what })
}

fn what(text: &str) -> Option<What> {
    if let Some((call, value)) = text.strip_prefix("sys_").and_then(|call| call.split_once(" -> ")) {
        let value = value.trim();
        let value = match value.strip_prefix("0x") {
            // Printed without a sign.
            Some(digits) => u64::from_str_radix(digits, 16).ok()?.cast_signed(),
            None => value.parse().ok()?,
        };
        return Some(What::Return { call: call.to_owned(), value });
    }
    if let Some((call, arguments)) = text.strip_prefix("sys_").and_then(|call| call.split_once('(')) {
        let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
        return Some(What::Call { call: call.to_owned(), arguments: arguments.to_owned() });
    }
    let (event, fields) = text.split_once(": ")?;
    let field = |name: &str| fields.split_whitespace().find_map(|f| f.strip_prefix(name)?.strip_prefix('='));
    match event {
        "sched_process_fork" => Some(What::Fork { child: field("child_pid")?.parse().ok()? }),
        "sched_process_exec" => Some(What::Exec { path: field("filename")?.to_owned() }),
        "sched_process_exit" => Some(What::End),
        _ if event.starts_with(crate::probe::EVENT) => Some(What::Allocation),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_are_read() {
        let event = |line: &str| parse(line).map(|e| (e.name, e.thread, e.what));
        let call =
            |call: &str, arguments: &str| What::Call { call: call.into(), arguments: arguments.into() };
        assert_eq!(
            event("         cortend-4711    [000] .....    12.000001: sys_close(fd: 3)"),
            Some(("cortend".into(), 4711, call("close", "fd: 3")))
        );
        assert_eq!(
            event("     tokio-rt-w-1-77      [001] .....   105.250000: sys_openat -> 0xfffffffffffffffe"),
            Some(("tokio-rt-w-1".into(), 77, What::Return { call: "openat".into(), value: -2 }))
        );
        let fork = "a-1 [001] ..... 1.0: sched_process_fork: comm=a pid=1 child_comm=a child_pid=2";
        assert_eq!(event(fork), Some(("a".into(), 1, What::Fork { child: 2 })));
        let exec = "a-1 [001] ..... 1.0: sched_process_exec: filename=/bin/true pid=1 old_pid=1";
        assert_eq!(event(exec), Some(("a".into(), 1, What::Exec { path: "/bin/true".into() })));
        assert_eq!(
            event("a-1 [001] ..... 1.0: sched_process_exit: comm=a pid=1 prio=120").unwrap().2,
            What::End
        );
        assert_eq!(event("a-1 [001] ..... 1.0: malloc: (0x7f01)").unwrap().2, What::Allocation);
        assert_eq!(event("# tracer: nop"), None);
    }
}
