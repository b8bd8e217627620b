//! A picture of what the threads of several programs asked of the kernel: one line a thread, one bar a system call.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use trace::{Event, What};

/// Calls that only wait for somebody else.
pub(super) const WAITING: &str = "waiting";
const WIDTH: f64 = 1500.0;
const LEFT: f64 = 170.0;
const LINE: f64 = 18.0;
const TOP: f64 = 60.0;
/// A bar with its name written in it is at least so wide.
const NAMED: f64 = 46.0;

/// One system call from its beginning to its end.
pub(super) struct Span {
    pub(super) program: String,
    pub(super) thread: u32,
    pub(super) call: String,
    pub(super) arguments: String,
    /// Seconds.
    pub(super) start: f64,
    pub(super) end: f64,
    pub(super) value: i64,
}

/// The kind of a system call, and its colour.
pub(super) fn kind(call: &str) -> (&'static str, &'static str) {
    match call {
        "epoll_wait" | "epoll_pwait" | "epoll_pwait2" | "futex" | "poll" | "ppoll" | "select"
        | "pselect6" | "nanosleep" | "clock_nanosleep" | "io_uring_enter" | "wait4" | "waitid" => {
            (WAITING, "#e4e4e4")
        }
        "clone" | "clone3" | "fork" | "vfork" | "execve" | "execveat" | "exit" | "exit_group" | "kill"
        | "pidfd_open" | "pidfd_send_signal" | "prctl" | "seccomp" | "capset" | "setns" | "unshare" => {
            ("process", "#d1495b")
        }
        "mount" | "umount2" | "move_mount" | "open_tree" | "fsopen" | "fsconfig" | "fsmount"
        | "pivot_root" | "mount_setattr" => ("mount", "#8f5fbf"),
        "socket" | "socketpair" | "bind" | "connect" | "accept4" | "sendto" | "sendmsg" | "recvfrom"
        | "recvmsg" | "setsockopt" | "getsockopt" | "getsockname" | "shutdown" => ("socket", "#2e86ab"),
        "mmap" | "munmap" | "mprotect" | "brk" | "madvise" | "mremap" => ("memory", "#c9a227"),
        "fsync" | "fdatasync" | "sync_file_range" | "syncfs" => ("sync", "#000000"),
        _ => ("file", "#3c9d5b"),
    }
}

/// The calls, in the order of their ends.
pub(super) fn spans(events: &[Event]) -> Vec<Span> {
    let mut open: BTreeMap<u32, (f64, String, String)> = BTreeMap::new();
    let mut spans = Vec::new();
    let mut close = |event: &Event, (start, call, arguments): (f64, String, String), value: i64| {
        let (program, thread, end) = (event.name.clone(), event.thread, event.time);
        spans.push(Span { program, thread, call, arguments, start, end, value });
    };
    for event in events {
        match &event.what {
            What::Call { call, arguments } => {
                open.insert(event.thread, (event.time, call.clone(), arguments.clone()));
            }
            What::Return { value, .. } => {
                if let Some(begun) = open.remove(&event.thread) {
                    close(event, begun, *value);
                }
            }
            What::End => {
                if let Some(begun) = open.remove(&event.thread) {
                    close(event, begun, 0);
                }
            }
            What::Fork { .. } | What::Exec { .. } | What::Allocation => {}
        }
    }
    spans
}

/// The picture, as SVG.
pub(super) fn draw(title: &str, events: &[Event]) -> String {
    let spans = spans(events);
    // It begins when the client's program does, and ends with the client or what comes after it.
    let begin = events
        .iter()
        .find(|e| matches!(e.what, What::Exec { .. }))
        .or(events.first())
        .map_or(0.0, |event| event.time);
    let end = spans.iter().filter(|s| kind(&s.call).0 != WAITING).map(|s| s.end).fold(begin + 1e-6, f64::max);
    let x = |time: f64| LEFT + (time.max(begin) - begin) / (end - begin) * (WIDTH - LEFT);

    // Threads in the order of their first event; a thread that only waits is left out.
    let mut threads: Vec<(u32, String)> = Vec::new();
    for span in spans.iter().filter(|s| kind(&s.call).0 != WAITING && s.end > begin) {
        match threads.iter_mut().find(|(thread, _)| *thread == span.thread) {
            Some((_, names)) if !names.ends_with(&span.program) => {
                let _ = write!(names, " → {}", span.program);
            }
            Some(_) => {}
            None => threads.push((span.thread, span.program.clone())),
        }
    }
    let y = |thread: u32| threads.iter().position(|(t, _)| *t == thread).map(|line| TOP + line as f64 * LINE);
    let height = TOP + threads.len() as f64 * LINE + 10.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='#fff'/>\n<text x='8' y='18' font-size='14'>{} — {:.2} ms</text>\n",
        escaped(title),
        (end - begin) * 1e3
    );
    legend(&mut svg);
    for (thread, names) in &threads {
        let line = y(*thread).unwrap_or(TOP);
        let _ = writeln!(svg, "<text x='8' y='{:.1}'>{}</text>", line + 12.0, escaped(names));
    }
    for millisecond in 0..=((end - begin) * 1e3) as usize {
        let at = x(begin + millisecond as f64 / 1e3);
        let _ = writeln!(
            svg,
            "<path d='M{at:.1} {:.1}V{height}' stroke='#ddd'/><text x='{:.1}' y='{:.1}' fill='#888'>{millisecond}</text>",
            TOP - 4.0,
            at + 2.0,
            TOP - 6.0
        );
    }
    for span in spans.iter().filter(|s| s.end > begin && s.start < end) {
        let Some(top) = y(span.thread) else { continue };
        let (from, to) = (x(span.start), x(span.end.min(end)));
        let colour = kind(&span.call).1;
        let _ = writeln!(
            svg,
            "<rect x='{from:.2}' y='{:.1}' width='{:.2}' height='{:.1}' fill='{colour}'><title>{}({}) = {}, {:.0} µs</title></rect>",
            top + 1.0,
            (to - from).max(0.4),
            LINE - 3.0,
            span.call,
            escaped(&span.arguments),
            span.value,
            (span.end - span.start) * 1e6
        );
        if to - from > NAMED && kind(&span.call).0 != WAITING {
            let _ = writeln!(
                svg,
                "<text x='{:.1}' y='{:.1}' fill='#fff' pointer-events='none'>{}</text>",
                from + 3.0,
                top + 12.0,
                span.call
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

fn legend(svg: &mut String) {
    let mut at = LEFT;
    for call in ["execve", "mount", "socket", "openat", "mmap", "fsync", "futex"] {
        let (name, colour) = kind(call);
        let _ = writeln!(
            svg,
            "<rect x='{at}' y='26' width='12' height='12' fill='{colour}'/><text x='{}' y='36'>{name}</text>",
            at + 16.0
        );
        at += 80.0;
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&apos;")
}
