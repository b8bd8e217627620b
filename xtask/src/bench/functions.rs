//! Which functions of the programs run: when it is a runtime by itself, when a daemon starts and waits, and in a day's work.

use std::collections::BTreeSet;
use std::path::Path;

use super::peer::Peer;
use super::runtime;
use crate::Outcome;

/// The programs, each with the crate that it is made of.
pub(crate) const PROGRAMS: [(&str, &str); 3] =
    [("corten-shim", "shim"), ("cortend", "daemon"), ("corten", "cli")];

/// What is done, in the order in which the functions come to lie; the word of this task for each.
const PIECES: [&str; 3] = ["runtime", "idle", "work"];

/// Rounds, so that what is not the same each time is seen.
const ROUNDS: usize = 3;

const DOCKERFILE: &str = "FROM busybox:bench AS one\nWORKDIR /w\nCOPY Dockerfile .\nRUN true\nFROM busybox:bench\nENV A=b\n\
                          COPY --from=one /w/Dockerfile /\nCMD [\"true\"]\n";

/// For each of [`PROGRAMS`] the names of its functions, as the linker knows them: sets that are to follow each other.
pub(crate) fn functions(dist: &Path) -> Result<Vec<Vec<BTreeSet<String>>>, String> {
    let paths: Vec<_> = PROGRAMS.iter().map(|(program, _)| dist.join(program)).collect();
    let paths: Vec<&Path> = paths.iter().map(AsRef::as_ref).collect();
    let this = std::env::current_exe().map_err(|e| format!("this program's path: {e}"))?;
    let mut found = vec![Vec::new(); PROGRAMS.len()];
    for word in PIECES {
        let command = [&this.display().to_string(), "layout", word, &dist.display().to_string()];
        let called = trace::called(&paths, &command).map_err(|e| format!("functions that run: {e}"))?;
        for (sets, called) in found.iter_mut().zip(called) {
            sets.push(called);
        }
    }
    Ok(found)
}

/// Does what is looked at: one of the pieces, in a process of its own.
pub(crate) fn piece(word: &str, dist: &Path) -> Outcome {
    match word {
        "runtime" => as_runtime(dist),
        "idle" => Peer::corten("corten", dist).map(drop),
        "work" => work(&Peer::corten("corten", dist)?),
        other => Err(format!("no such piece: {other}")),
    }
}

fn as_runtime(dist: &Path) -> Outcome {
    let bundle = std::env::temp_dir().join(format!("ct-layout-{}", std::process::id()));
    let program = bundle.join("corten-runtime");
    let failed = |e: std::io::Error| format!("{}: {e}", program.display());
    let run = || {
        std::fs::create_dir_all(&bundle).map_err(failed)?;
        std::os::unix::fs::symlink(dist.join("corten-shim"), &program).map_err(failed)?;
        runtime::bundle(&bundle, &program)?;
        let states = bundle.join("states");
        (0..ROUNDS).try_for_each(|_| runtime::run(&mut runtime::command(&program, &bundle, &states)))
    };
    let ran = run();
    let _ = std::fs::remove_dir_all(&bundle);
    ran
}

fn work(peer: &Peer) -> Outcome {
    let context = peer.scratch("context");
    let written = std::fs::create_dir_all(&context)
        .and_then(|()| std::fs::write(context.join("Dockerfile"), DOCKERFILE))
        .and_then(|()| std::fs::write(context.join("large"), vec![7; 4 << 20]));
    written.map_err(|e| format!("{}: {e}", context.display()))?;
    let path = |name: &str| context.join(name).display().to_string();
    for _ in 0..ROUNDS {
        for words in [
            "run --rm busybox:bench true",
            "run --rm --network none busybox:bench true",
            "run --rm --network host busybox:bench true",
            "run --rm -t busybox:bench echo hello",
            "run -d --name x1 -p 127.0.0.1:18081:80 -v v1:/v busybox:bench sh -c \"date; exec sleep 1000\"",
            "exec x1 true",
            "ps",
            "ps -a --no-trunc",
            "logs x1",
            "inspect x1",
            "top x1",
            "stats --no-stream x1",
            "pause x1",
            "unpause x1",
            "restart -t 0 x1",
            "stop -t 0 x1",
            "start x1",
            "commit x1 made",
            "rm -f x1",
            "network create n1",
            "run -d --name x2 --network n1 busybox:bench sleep 1000",
            "rm -f x2",
            "network rm n1",
            "volume ls",
            "volume rm v1",
            "images",
            "rmi made",
            "system df",
            "info",
        ] {
            peer.ok(&words_of(words))?;
        }
        peer.ok(&["run", "-d", "--name", "x3", "busybox:bench", "sleep", "1000"])?;
        peer.ok(&["cp", &path("large"), "x3:/large"])?;
        peer.ok(&["cp", "x3:/large", &path("back")])?;
        peer.ok(&["rm", "-f", "x3"])?;
        peer.ok(&["build", "-t", "built", &path(".")])?;
        peer.ok(&["save", "-o", &path("saved.tar"), "built"])?;
        peer.ok(&["rmi", "built"])?;
        peer.ok(&["load", "-i", &path("saved.tar")])?;
    }
    Ok(())
}

/// Words apart, but for those in double quotes.
fn words_of(line: &str) -> Vec<&str> {
    let parts = line.split('"').enumerate();
    parts
        .flat_map(
            |(number, part)| if number % 2 == 0 { part.split_whitespace().collect() } else { vec![part] },
        )
        .collect()
}
