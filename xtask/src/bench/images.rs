//! Load and save of an image of 8 layers, about 520 MB unpacked and 185 MB with gzip.

use std::path::Path;
use std::process::Command;

use super::report::{Promise, Report};
use super::{Options, median, names, peer::Peer, timed};
use crate::Outcome;

const LAYERS: usize = 8;
/// Files of a layer, and of each the bytes that do not compress and those that do.
const FILES: usize = 650;
const NOISE: usize = 34_000;
const TEXT: usize = 66_000;
const NAME: &str = "bench/image:1";
/// Docker's time over ours, at least.
const GOAL: f64 = 2.0;

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let peers = options.peers()?;
    let mut report = Report::new("images", &names(&peers));
    let directory = std::env::temp_dir().join(format!("ct-bench-images-{}", std::process::id()));
    let measured = make(&directory).and_then(|()| measure(&peers, &directory));
    let _ = std::fs::remove_dir_all(&directory);
    for (what, figures) in measured? {
        report.row(&format!("{what} of 8 layers, 520 MB"), "ms", &figures, Promise::NONE);
        if let [ours, dockers] = figures.as_slice()
            && options.compare.is_none()
            && *dockers < GOAL * ours
        {
            report.broken(format!("{what}: {:.1} times faster than Docker, promised {GOAL}", dockers / ours));
        }
    }
    report.finish(options.gate)
}

fn measure(peers: &[Peer], directory: &Path) -> Result<Vec<(&'static str, Vec<f64>)>, String> {
    let archive = directory.join("image.tar").display().to_string();
    let saved = directory.join("saved.tar").display().to_string();
    let (mut loads, mut saves) = (vec![Vec::new(); peers.len()], vec![Vec::new(); peers.len()]);
    for _ in 0..3 {
        for (at, peer) in peers.iter().enumerate() {
            // What the one before wrote is on the disk, not on its way there.
            sync();
            loads[at].push(timed(|| peer.ok(&["load", "-q", "-i", &archive]).map(drop))?);
            sync();
            saves[at].push(timed(|| peer.ok(&["save", "-o", &saved, NAME]).map(drop))?);
            peer.ok(&["rmi", "-f", NAME])?;
        }
    }
    let medians = |all: Vec<Vec<f64>>| all.into_iter().map(median).collect();
    Ok(vec![("load", medians(loads)), ("save", medians(saves))])
}

fn sync() {
    // sync(2) by its command: what it says is of no interest.
    let _ = Command::new("sync").status();
}

/// Writes the archive: a docker-archive of compressed layers, which every Docker loads.
fn make(directory: &Path) -> Outcome {
    std::fs::create_dir_all(directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut seed = 1_u64;
    let mut diff_ids = Vec::new();
    for layer in 0..LAYERS {
        let root = directory.join(format!("layer{layer}"));
        for file in 0..FILES {
            let path = root.join(format!("opt/part{layer}/dir{}/file{file}", file % 25));
            let mut bytes = Vec::with_capacity(NOISE + TEXT);
            while bytes.len() < NOISE {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                bytes.extend((seed >> 16).to_le_bytes().iter().take(6));
            }
            while bytes.len() < NOISE + TEXT {
                bytes.extend(b"some text that is in every file and compresses well\n");
            }
            let parent = path.parent().ok_or("a path has a parent")?;
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&path, &bytes))
                .map_err(|e| e.to_string())?;
        }
        let script = format!(
            "tar --sort=name -C layer{layer} -cf layer{layer}.tar . && sha256sum layer{layer}.tar && \
             gzip -6 layer{layer}.tar && rm -r layer{layer}"
        );
        let sum = shell(directory, &script)?;
        let sum = sum.split_whitespace().next().ok_or("sha256sum prints a sum")?.to_owned();
        diff_ids.push(format!("sha256:{sum}"));
    }
    let config = serde_json::json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["true"] },
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let layers: Vec<String> = (0..LAYERS).map(|layer| format!("layer{layer}.tar.gz")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [NAME], "Layers": layers }]);
    for (name, document) in [("config.json", config), ("manifest.json", manifest)] {
        std::fs::write(directory.join(name), document.to_string()).map_err(|e| e.to_string())?;
    }
    shell(directory, "tar -cf image.tar config.json manifest.json layer*.tar.gz && rm layer*.tar.gz")
        .map(drop)
}

fn shell(directory: &Path, script: &str) -> Result<String, String> {
    let output = Command::new("sh").args(["-euc", script]).current_dir(directory).output();
    let output = output.map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{script}: {}", String::from_utf8_lossy(&output.stderr)))
}
