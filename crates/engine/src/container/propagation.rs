//! Propagation of bind mounts: what a source must be for it, and Docker's rule for sources around the data root.

use std::path::Path;

use super::mounts::{Kind, MountPoint};
use crate::Error;

/// A bind whose source is in the data root or around it must not keep what is unmounted there mounted: Docker's rule.
pub(crate) fn guard(mount: &mut MountPoint, root: &Path) -> Result<(), Error> {
    let source = Path::new(&mount.source);
    if mount.kind != Kind::Bind || !(source.starts_with(root) || root.starts_with(source)) {
        return Ok(());
    }
    match mount.propagation.as_str() {
        "" => {
            "rslave".clone_into(&mut mount.propagation);
            mount.slave_if_can = true;
            Ok(())
        }
        "rslave" | "rshared" => Ok(()),
        other => Err(Error::Invalid(format!(
            "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
             within the daemon root, daemon root: {:?}, bind mount source: {:?}, propagation: {other:?}",
            root.display().to_string(),
            mount.source
        ))),
    }
}

/// A propagation needs a source that has it. Blocking.
pub(crate) fn check(mount: &mut MountPoint) -> Result<(), Error> {
    let slave = mount.propagation.ends_with("slave");
    if mount.kind != Kind::Bind || !(slave || mount.propagation.ends_with("shared")) {
        return Ok(());
    }
    let covering = sys::mount::covering(Path::new(&mount.source))?;
    if covering.shared || slave && covering.slave {
        return Ok(());
    }
    if mount.slave_if_can {
        mount.propagation.clear();
        return Ok(());
    }
    Err(Error::Internal(format!(
        "path {} is mounted on {} but it is not a {} mount",
        mount.source,
        covering.mount_point,
        if slave { "shared or slave" } else { "shared" }
    )))
}

#[cfg(test)]
mod tests {
    use super::super::mounts::from_bind;
    use super::*;

    #[test]
    fn sources_around_the_data_root_are_slaves() {
        let root = Path::new("/var/lib/corten");
        for (bind, propagation) in [
            ("/:/x", Some("rslave")),
            ("/var/lib/corten/volumes:/x", Some("rslave")),
            ("/var/lib/corten2:/x", Some("")),
            ("/var:/x:rshared", Some("rshared")),
            ("/var:/x:private", None),
        ] {
            let mut mount = from_bind(bind, "").unwrap();
            let guarded = guard(&mut mount, root);
            assert_eq!(guarded.ok().map(|()| mount.propagation.as_str()), propagation, "{bind}");
        }
    }
}
