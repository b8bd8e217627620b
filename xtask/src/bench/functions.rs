//! Which functions of the shim run: when containers start, run something and end, and when it is a runtime by itself.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::process::Command;

use super::peer::Peer;
use crate::run;

/// Rounds, so that what is not the same each time is seen.
const ROUNDS: usize = 3;

/// Their names, as the linker knows them: of the runtime, and of the rest.
pub(crate) fn functions(dist: &Path) -> Result<[BTreeSet<String>; 2], String> {
    let shim = dist.join("corten-shim");
    let failed = |e: io::Error| format!("functions of {}: {e}", shim.display());
    let peer = Peer::corten("corten", dist)?;
    let lives = || {
        for _ in 0..ROUNDS {
            peer.ok(&["run", "--rm", "busybox:bench", "true"])?;
            peer.ok(&["run", "-d", "--name", "x1", "busybox:bench", "sleep", "1000"])?;
            peer.ok(&["exec", "x1", "true"])?;
            peer.ok(&["rm", "-f", "x1"])?;
        }
        Ok::<_, String>(())
    };
    // The daemon executes a copy in memory.
    let copy = peer.open_file("memfd:corten-shim")?;
    let lives = trace::called(&shim, &copy, || lives().map_err(io::Error::other)).map_err(failed)?;
    let bundle = peer.scratch("bundle");
    let runtime = bundle.join("corten-runtime");
    prepare(&shim, &bundle, &runtime).map_err(failed)?;
    let once = || {
        let mut command = Command::new(&runtime);
        command.arg("--root").arg(bundle.join("states")).args(["run", "--bundle"]).arg(&bundle).arg("once");
        run(&mut command).map_err(io::Error::other)
    };
    let runtime = trace::called(&shim, &shim, || (0..ROUNDS).try_for_each(|_| once())).map_err(failed)?;
    Ok([runtime, lives])
}

/// A bundle whose program is `true`, and the shim under its name as a runtime.
fn prepare(shim: &Path, bundle: &Path, runtime: &Path) -> io::Result<()> {
    std::fs::create_dir_all(bundle.join("rootfs/bin"))?;
    std::fs::copy("/bin/busybox", bundle.join("rootfs/bin/true"))?;
    std::os::unix::fs::symlink(shim, runtime)?;
    run(Command::new(runtime).args(["spec", "--bundle"]).arg(bundle)).map_err(io::Error::other)?;
    let config = bundle.join("config.json");
    let text = std::fs::read_to_string(&config)?;
    let text = text.replace("\"terminal\": true", "\"terminal\": false").replace("\"sh\"", "\"/bin/true\"");
    std::fs::write(&config, text)
}
