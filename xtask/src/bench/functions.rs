//! Which functions of the shim run: when containers start, run something and end, and when it is a runtime by itself.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use super::peer::Peer;
use super::runtime;

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
    std::fs::create_dir_all(&bundle)
        .and_then(|()| std::os::unix::fs::symlink(&shim, &runtime))
        .map_err(|e| format!("{}: {e}", runtime.display()))?;
    runtime::bundle(&bundle, &runtime)?;
    let states = bundle.join("states");
    let once = || runtime::run(&mut runtime::command(&runtime, &bundle, &states)).map_err(io::Error::other);
    let runtime = trace::called(&shim, &shim, || (0..ROUNDS).try_for_each(|_| once())).map_err(failed)?;
    Ok([runtime, lives])
}
