//! An overlay of directories of the host, as one more mount of a container.

use std::os::fd::AsFd;
use std::path::Path;

use sys::mount::{Attributes, Depth, Mount, Upper};

use super::source::copy_below;
use crate::Failure;
use crate::failure::at_path;
use crate::idmap::Owners;

/// What an overlay is made of, sorted out of its options.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts<'o> {
    /// `lowerdir+`, highest first.
    lower: Vec<String>,
    upper: Option<&'o str>,
    work: Option<&'o str>,
    volatile: bool,
    /// What is in it is mounted instead of its top.
    subpath: Option<&'o str>,
    rest: Vec<&'o str>,
}

impl<'o> Parts<'o> {
    fn of(options: &'o [String]) -> Self {
        let mut parts = Self::default();
        for option in options {
            match option.split_once('=') {
                Some(("lowerdir+", path)) => parts.lower.push(path.to_owned()),
                Some(("upperdir", path)) => parts.upper = Some(path),
                Some(("workdir", path)) => parts.work = Some(path),
                Some(("subpath", path)) => parts.subpath = Some(path),
                None if option == "volatile" => parts.volatile = true,
                _ => parts.rest.push(option),
            }
        }
        parts
    }
}

/// Makes it, attached nowhere. The caller's mounts are private, and its root is still the host's. With `owners`, files
/// belong to whom they say.
pub(super) fn make(
    destination: &str,
    options: &[String],
    owners: Option<&Owners<'_>>,
) -> Result<Mount, Failure> {
    let failed = at_path("mount", destination);
    let parts = Parts::of(options);
    let overlay = || match (parts.upper, parts.work) {
        // Overlayfs wants one layer at least below the upper directory; without any, that is all there is.
        (Some(upper), _) if parts.lower.is_empty() && parts.rest.is_empty() => {
            Mount::copy(Path::new(upper), Depth::One)
        }
        (Some(directory), Some(work)) if parts.rest.is_empty() => {
            Mount::overlay(&parts.lower, Upper { directory, work, volatile: parts.volatile }, "")
        }
        _ => {
            let data: Vec<&str> =
                options.iter().map(String::as_str).filter(|o| !o.starts_with("subpath=")).collect();
            Mount::new("overlay", "overlay", &data, Attributes::empty())
        }
    };
    let made = match owners {
        None => overlay().map_err(&failed)?,
        Some(owners) => {
            map_layers(&parts.lower, parts.upper.zip(parts.work), owners)?;
            owners.as_root(|| overlay().map_err(&failed))?
        }
    };
    let Some(subpath) = parts.subpath else { return Ok(made) };
    let Some(upper) = parts.upper else {
        return Err(Failure::new("mount", destination, "subpath needs an overlay with an upperdir"));
    };
    // Only what is attached can be copied (before Linux 6.15). This stays in the tree that is left.
    let place = Mount::open(Path::new(upper)).map_err(&failed)?;
    made.attach(place.as_fd()).map_err(&failed)?;
    copy_below(upper, subpath, Depth::One)
}

/// Covers the directories of an overlay, in this mount namespace, with copies whose files belong to others: overlayfs
/// takes layers as they are mounted (Linux 5.19). Upper and work directory have to be on one mount.
pub(crate) fn map_layers(
    lower: &[String],
    upper: Option<(&str, &str)>,
    owners: &Owners<'_>,
) -> Result<(), Failure> {
    lower.iter().try_for_each(|layer| owners.cover(Path::new(layer)))?;
    let Some((upper, work)) = upper else { return Ok(()) };
    match (Path::new(upper).parent(), Path::new(work).parent()) {
        (Some(parent), Some(other)) if parent == other => owners.cover(parent),
        _ => Err(Failure::new("mount", upper, "to map ids, upper and work directory need one parent")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_sorted_out() {
        let options = ["lowerdir+=/b", "lowerdir+=/a", "upperdir=/u", "workdir=/w", "subpath=x", "xino=off"];
        let options = options.map(str::to_owned);
        let parts = Parts {
            volatile: false,
            lower: vec!["/b".into(), "/a".into()],
            upper: Some("/u"),
            work: Some("/w"),
            subpath: Some("x"),
            rest: vec!["xino=off"],
        };
        assert_eq!(Parts::of(&options), parts);
    }
}
