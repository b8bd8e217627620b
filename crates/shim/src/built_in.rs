//! The built-in seccomp profile, compiled, in memory files that go to the shims. In the configuration it would be 400 names,
//! written, read, looked up for each ABI and put in order: a millisecond of each start.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use runtime::Filter;
use spec::defaults;

/// Sets of capabilities for which the profile is kept.
const KEPT: usize = 8;

type Last = Vec<(Vec<String>, Arc<OwnedFd>)>;

static LAST: Mutex<Last> = Mutex::new(Vec::new());

/// The filter of a container with these capabilities, to be sent along with [`Create`](crate::proto::Create).
///
/// # Errors
/// memfd_create(2)'s and write(2)'s.
///
/// # Panics
/// Never: the built-in profile has known words only, whatever the capabilities.
pub fn built_in_filter(capabilities: &[String]) -> sys::Result<Arc<OwnedFd>> {
    let mut last = LAST.lock().expect("no holder of this lock can panic");
    if let Some((_, filter)) = last.iter().find(|(of, _)| of == capabilities) {
        return Ok(filter.clone());
    }
    let filter = Filter::compile(&defaults::default_profile(capabilities)).expect("known words only");
    let file = Arc::new(sys::memfd::of_bytes("corten-filter", &filter.to_bytes())?);
    last.truncate(KEPT - 1);
    last.insert(0, (capabilities.to_vec(), file.clone()));
    Ok(file)
}

/// What came in such a file.
///
/// # Errors
/// read(2)'s; InvalidData for anything else.
pub fn filter(file: OwnedFd) -> std::io::Result<Filter> {
    let file = std::fs::File::from(file);
    // Others hold the same file: nothing may be left to its offset.
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX)];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0)?;
    Filter::from_bytes(&bytes).ok_or_else(|| std::io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_of_capabilities_has_its_own() {
        let sets: Vec<Vec<String>> = (0..=defaults::ALL_CAPABILITIES.len())
            .map(|n| defaults::ALL_CAPABILITIES.iter().take(n).map(|name| (*name).to_owned()).collect())
            .collect();
        for set in sets.iter().chain(&sets) {
            let compiled = Filter::compile(&defaults::default_profile(set)).unwrap();
            let sent = || built_in_filter(set).unwrap().try_clone().unwrap();
            assert_eq!(filter(sent()).unwrap(), compiled, "{set:?}");
            assert_eq!(filter(sent()).unwrap(), compiled, "{set:?}");
        }
        assert_eq!(LAST.lock().unwrap().len(), KEPT);
    }
}
