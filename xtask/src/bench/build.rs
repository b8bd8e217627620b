//! `cargo xtask bench build`: Dockerfiles that stand for what developers wait for, beside Debian's docker.io with its
//! classic builder where that has the words.

use std::path::PathBuf;

use super::peer::Peer;
use super::report::{Promise, Report};
use super::{Options, names, timed};
use crate::Outcome;

/// Files of the large context, and bytes of each.
const FILES: usize = 100_000;
const FILE_BYTES: usize = 10_000;

/// A row: what both engines are timed at, and the promise and its aim in milliseconds.
struct Row {
    name: &'static str,
    must: f64,
    aim: f64,
    /// The classic builder of docker.io has no such thing, or none that ends this day.
    alone: bool,
    run: fn(&Peer, &Scratch) -> Result<f64, String>,
}

const ROWS: [Row; 8] = [
    Row { name: "20 × RUN true, nothing cached", must: 800.0, aim: 400.0, alone: false, run: twenty },
    Row { name: "the same, all cached", must: 60.0, aim: 30.0, alone: false, run: twenty_cached },
    Row { name: "COPY of 100,000 files, 1 GB", must: 12_000.0, aim: 6000.0, alone: false, run: copy },
    Row { name: "the same, one touched", must: 1000.0, aim: 500.0, alone: false, run: copy_touched },
    Row { name: "the same, unchanged", must: 800.0, aim: 400.0, alone: false, run: copy_unchanged },
    Row { name: "that context, 3 files copied", must: 60.0, aim: 30.0, alone: false, run: three },
    Row { name: "10 stages of 0.9 s of a core", must: 6000.0, aim: 5000.0, alone: true, run: stages },
    Row { name: "8 tars ADDed, 500 MB", must: 5000.0, aim: 3000.0, alone: false, run: tars },
];

/// The contexts, made once.
struct Scratch {
    directory: PathBuf,
}

impl Scratch {
    fn make() -> Result<Self, String> {
        let directory = std::env::temp_dir().join(format!("ct-bench-build-{}", std::process::id()));
        let scratch = Self { directory };
        for name in ["run", "large/files", "stages", "tars"] {
            let path = scratch.directory.join(name);
            std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let mut lines = vec!["FROM busybox:bench".to_owned()];
        lines.extend((0..20).map(|number| format!("RUN true {number}")));
        scratch.write("run/Dockerfile", lines.join("\n").as_bytes())?;

        let mut noise = Noise(1);
        let mut bytes = vec![0; FILE_BYTES];
        for number in 0..FILES {
            if number % 1000 == 0 {
                let path = scratch.directory.join(format!("large/files/{}", number / 1000));
                std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            }
            // Half of it is noise, as in a checkout with its build results.
            noise.fill(&mut bytes[..FILE_BYTES / 2]);
            scratch.write(&format!("large/files/{}/{number}", number / 1000), &bytes)?;
        }
        scratch.write("large/Dockerfile", b"FROM busybox:bench\nCOPY . /x\n")?;
        scratch.write(
            "large/three.Dockerfile",
            b"FROM busybox:bench\nCOPY files/1/1001 files/2/2002 files/3/3003 /x/\n",
        )?;

        let spin = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done";
        let mut text = String::new();
        for number in 0..10 {
            text.push_str(&format!("FROM busybox:bench AS s{number}\nRUN {spin}; echo {number} > /o\n"));
        }
        text.push_str("FROM busybox:bench\n");
        for number in 0..10 {
            text.push_str(&format!("COPY --from=s{number} /o /o{number}\n"));
        }
        scratch.write("stages/Dockerfile", text.as_bytes())?;

        let mut text = String::from("FROM busybox:bench\n");
        for number in 0..8 {
            let mut tar = Vec::new();
            for file in 0..63 {
                let mut content = vec![0; 1_000_000];
                noise.fill(&mut content[..400_000]);
                entry(&mut tar, &format!("t{number}/{file}"), &content);
            }
            tar.extend_from_slice(&[0; 1024]);
            scratch.write(&format!("tars/{number}.tar"), &tar)?;
            text.push_str(&format!("ADD {number}.tar /\n"));
        }
        scratch.write("tars/Dockerfile", text.as_bytes())?;
        Ok(scratch)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Outcome {
        let path = self.directory.join(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn build(&self, peer: &Peer, name: &str, words: &[&str]) -> Result<f64, String> {
        let context = self.directory.join(name).display().to_string();
        timed(|| peer.ok(&[&["build", "-q"], words, &[&context]].concat()).map(drop))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Bytes that do not shrink: xorshift.
struct Noise(u64);

impl Noise {
    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            chunk.copy_from_slice(&self.0.to_le_bytes()[..chunk.len()]);
        }
    }
}

/// A file in a tar (POSIX ustar).
fn entry(tar: &mut Vec<u8>, name: &str, content: &[u8]) {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, "0000644\0");
    put(108, "0000000\0");
    put(116, "0000000\0");
    put(124, &format!("{:011o}\0", content.len()));
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "0");
    put(257, "ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(512), 0);
}

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let peers = options.peers()?;
    let scratch = Scratch::make()?;
    let mut report = Report::new("build", &names(&peers));
    for one in &ROWS {
        let compared = if one.alone && options.compare.is_none() { &peers[..1] } else { &peers[..] };
        let mut figures = Vec::new();
        for peer in compared {
            let figure = (one.run)(peer, &scratch);
            figures.push(figure.map_err(|e| format!("{} on {}: {e}", one.name, peer.name))?);
        }
        report.row(one.name, "ms", &figures, Promise { must: one.must, aim: one.aim });
    }
    report.finish(options.gate)
}

/// The best of some: what is in the page cache is no matter of the builder's.
fn best(times: usize, mut work: impl FnMut() -> Result<f64, String>) -> Result<f64, String> {
    let mut best = f64::INFINITY;
    for _ in 0..times {
        best = best.min(work()?);
    }
    Ok(best)
}

fn twenty(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    best(3, || scratch.build(peer, "run", &["--no-cache"]))
}

fn twenty_cached(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    best(5, || scratch.build(peer, "run", &[]))
}

fn copy(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    scratch.build(peer, "large", &[])
}

fn copy_touched(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    best(2, || {
        let path = scratch.directory.join("large/files/7/7007");
        let touched = std::fs::File::open(&path).and_then(|f| f.set_modified(std::time::SystemTime::now()));
        touched.map_err(|e| format!("{}: {e}", path.display()))?;
        scratch.build(peer, "large", &[])
    })
}

fn copy_unchanged(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    best(3, || scratch.build(peer, "large", &[]))
}

fn three(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    let file = scratch.directory.join("large/three.Dockerfile").display().to_string();
    best(3, || scratch.build(peer, "large", &["--no-cache", "-f", &file]))
}

fn stages(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    scratch.build(peer, "stages", &["--no-cache"])
}

fn tars(peer: &Peer, scratch: &Scratch) -> Result<f64, String> {
    scratch.build(peer, "tars", &["--no-cache"])
}
