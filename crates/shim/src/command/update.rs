//! `update`: new limits.

use std::io::Read;
use std::path::Path;

use spec::oci::runtime::{Cpu, IntelRdt, Memory, Pids, Resources};

use super::args::{Args, Known};
use super::record::{self, Status};
use super::{Context, Outcome, words};

const OPTIONS: [Known; 19] = [
    ("resources", "r", true),
    ("blkio-weight", "", true),
    ("cpu-period", "", true),
    ("cpu-quota", "", true),
    ("cpu-burst", "", true),
    ("cpu-share", "", true),
    ("cpu-rt-period", "", true),
    ("cpu-rt-runtime", "", true),
    ("cpuset-cpus", "", true),
    ("cpuset-mems", "", true),
    ("memory", "", true),
    ("memory-reservation", "", true),
    ("memory-swap", "", true),
    ("pids-limit", "", true),
    ("cpu-idle", "", true),
    ("kernel-memory", "", true),
    ("kernel-memory-tcp", "", true),
    ("l3-cache-schema", "", true),
    ("mem-bw-schema", "", true),
];

/// Larger ones are nobody's limits.
const LONGEST: u64 = 4 << 20;

/// `update <id>`.
pub(super) fn update(context: &Context, arguments: &[String]) -> Outcome {
    let args = Args::parse(arguments, &OPTIONS)?;
    let held = record::open(context, args.id()?)?;
    let resources = match args.value("resources") {
        Some(path) => read(path)?,
        None => from_options(&args)?,
    };
    resources.validate().map_err(|e| e.to_string())?;
    if held.status() == Status::Stopped {
        return Err("container not running".into());
    }
    if ["kernel-memory", "kernel-memory-tcp"].iter().any(|name| args.value(name).is_some()) {
        context.log.write("warning", "Kernel memory settings are ignored and will be removed");
    }
    let container = held.container(0)?;
    container.update(&resources).map_err(|e| e.to_string())?;
    let schema = |name: &str| args.value(name).unwrap_or_default().to_owned();
    let rdt = IntelRdt {
        l3_cache_schema: schema("l3-cache-schema"),
        mem_bw_schema: schema("mem-bw-schema"),
        ..IntelRdt::default()
    };
    container.update_class(&rdt).map(|()| 0).map_err(|e| e.to_string())
}

fn read(path: &str) -> Result<Resources, String> {
    let mut json = Vec::new();
    if path == "-" {
        std::io::stdin().take(LONGEST).read_to_end(&mut json).map_err(|e| format!("standard input: {e}"))?;
    } else {
        json = sys::file::read(Path::new(path)).map_err(words)?;
    }
    ::spec::oci::runtime::decode(&json).map_err(|e| e.to_string())
}

fn from_options(args: &Args) -> Result<Resources, String> {
    let bytes = |name: &str| match args.value(name) {
        None | Some("") => Ok(None),
        Some("-1") => Ok(Some(-1)),
        Some(text) => size(text).map(Some).ok_or_else(|| format!("invalid value for {name}: {text:?}")),
    };
    let text = |name: &str| args.value(name).unwrap_or_default().to_owned();
    let memory = Memory {
        limit: bytes("memory")?,
        reservation: bytes("memory-reservation")?,
        swap: bytes("memory-swap")?,
        ..Memory::default()
    };
    let cpu = Cpu {
        shares: args.number("cpu-share")?,
        quota: args.number("cpu-quota")?,
        period: args.number("cpu-period")?,
        burst: args.number("cpu-burst")?,
        realtime_runtime: args.number("cpu-rt-runtime")?,
        realtime_period: args.number("cpu-rt-period")?,
        cpus: text("cpuset-cpus"),
        mems: text("cpuset-mems"),
        idle: args.number("cpu-idle")?,
    };
    let weight = args.number("blkio-weight")?;
    Ok(Resources {
        memory: Some(memory),
        cpu: Some(cpu),
        pids: args.number("pids-limit")?.map(|limit| Pids { limit }),
        block_io: weight
            .map(|weight| ::spec::oci::runtime::BlockIo { weight: Some(weight), ..Default::default() }),
        ..Resources::default()
    })
}

/// `64m`: bytes, in powers of 1024.
fn size(text: &str) -> Option<i64> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches('b').trim_end_matches(['k', 'm', 'g', 't']);
    let shift = match lower.trim_end_matches('b').strip_prefix(digits)? {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes() {
        let table =
            [("64m", Some(64 << 20)), ("1GB", Some(1 << 30)), ("7", Some(7)), ("x", None), ("", None)];
        for (text, bytes) in table {
            assert_eq!(super::size(text), bytes, "{text}");
        }
    }
}
