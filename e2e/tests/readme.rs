//! The README's tour, run as it stands there: it cannot go stale.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::path::Path;

use testkit::{Command, Host, program};

/// The commands of the README's `## A tour`, block by block.
fn tour() -> Vec<String> {
    let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, tour) = text.split_once("## A tour").unwrap();
    let (tour, _) = tour.split_once("\n## ").unwrap();
    let blocks = tour.split("```sh\n").skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned());
    blocks.collect()
}

#[test]
fn the_tour_is_true() {
    // A host for the namespace only: the tour starts its daemon itself, as a newcomer's first command does.
    let mut host = Host::bare();
    host.stop_daemon();
    let bin = host.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    for name in ["corten", "cortend", "corten-shim"] {
        std::os::unix::fs::symlink(program(name), bin.join(name)).unwrap();
    }
    let mut script = String::from("set -eu\n");
    // Its own processes, state and run directory: `pkill` in the tour must find only the tour's daemon.
    for (real, own) in [("/run/corten", "tour-run"), ("/var/lib/corten", "tour-data")] {
        let own = host.path(own);
        std::fs::create_dir_all(&own).unwrap();
        script.push_str(&format!("mkdir -p {real}; mount --bind {} {real}\n", own.display()));
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    script.push_str(&format!(
        "cd {}; export CORTEN=corten PATH={}:$PATH\n",
        repository.display(),
        bin.display()
    ));
    let blocks = tour();
    assert!(blocks.len() >= 7, "the tour has lost its blocks");
    for line in blocks.iter().flat_map(|block| block.lines()) {
        script.push_str(&format!("echo '+ '{}\n{line}\n", quoted(line)));
        if line.ends_with('&') {
            script.push_str("until curl -sf http://127.0.0.1:5055/v2/ >/dev/null; do :; done\n");
        }
    }
    script.push_str("corten ps -aq | grep . && exit 99\npkill -x cortend; true\n");
    let file = host.path("tour.sh");
    std::fs::write(&file, script).unwrap();
    let namespace = format!("--net=/run/netns/{}", host.name);
    let words = [
        "nsenter",
        &namespace,
        "unshare",
        "-m",
        "-p",
        "-f",
        "--mount-proc",
        "--kill-child",
        "sh",
        &file.display().to_string(),
    ];
    let output = Command::new(&words).output();
    output.expect(0);
    for shown in
        ["hello\n", "it works\n+ corten cp", "index.html\n+ pkill", "kept\n", "built\n", "digest: sha256:"]
    {
        assert!(output.stdout.contains(shown), "{shown:?} is missing in\n{}{}", output.stdout, output.stderr);
    }
    let _ = std::fs::remove_dir_all("/tmp/corten-tour");
}

fn quoted(line: &str) -> String {
    format!("'{}'", line.replace('\'', r"'\''"))
}
