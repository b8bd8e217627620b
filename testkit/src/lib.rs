//! What the tests share: a throw-away host with its own daemon, commands on it, waiting without sleeping, and the
//! audit that nothing of ours is left.
//!
//! | room | what is in it |
//! |---|---|
//! | [`host`] | a network namespace, a directory and a cgroup of the test's own, with a `cortend` in it |
//! | [`command`] | run a program to its end; look at its code and output |
//! | [`disk`] | a file system of the test's own |
//! | [`audit`] | processes, mounts, cgroups, links, rules and files that are left |
//! | [`schema`] | every JSON answer of the daemon against the API's schema |
//! | [`image`] | small images made from what Debian has |
//! | [`layout`] | image archives, right or wrong in any way |
//! | [`relay`] | a line to a server, on which bytes can be held up |
//! | [`web`] | a web server that answers as a test says |
//! | [`until`] | wait for a level with a bound |

#![allow(clippy::disallowed_methods, reason = "tests start programs and write scratch files")]
#![allow(clippy::print_stderr, reason = "a failed test shows the daemon's log")]

pub mod audit;
pub mod command;
pub mod disk;
pub mod host;
pub mod image;
pub mod layout;
pub mod relay;
pub mod schema;
pub mod web;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use command::{Command, Output};
pub use disk::Disk;
pub use host::Host;
pub use relay::Relay;
pub use web::Web;

/// How long a test waits for something that must happen.
pub const BOUND: Duration = Duration::from_secs(30);

/// Asks `check` again and again until it gives something, at most for [`BOUND`]; then the test fails with `what`.
pub fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(start.elapsed() < BOUND, "waited {BOUND:?} in vain for {what}");
        // A pause between two looks at a level, so that the daemon under test gets the processor.
        let pause = rustix::event::Timespec { tv_sec: 0, tv_nsec: 3_000_000 };
        let _ = rustix::event::poll(&mut [], Some(&pause));
    }
}

/// One of our programs, as built beside the test that asks.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let directory = test.ancestors().nth(2).expect("tests are built in target/<profile>/deps");
    let program = directory.join(name);
    assert!(
        program.exists(),
        "{} is not built: run `cargo build --workspace --bins` first",
        program.display()
    );
    program
}

/// One of the original clients that `cargo xtask test` fetches: `docker-compose`, `docker-buildx`, `python/bin/python`.
pub fn client(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let target = test.ancestors().nth(3).expect("tests are built in target/<profile>/deps");
    let client = target.join("clients").join(name);
    assert!(client.exists(), "{} is missing: `cargo xtask clients` fetches it", client.display());
    client
}

/// The tests that come here need root: they make namespaces, mounts and cgroups.
pub fn need_root() {
    assert!(rustix::process::geteuid().is_root(), "this test needs root");
}

/// Writes a scratch file.
pub fn write(path: &std::path::Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
