//! Where containers' cgroups are, by whichever driver makes them.

use spec::Id;
use spec::oci::runtime::CgroupDriver;

use super::leftovers;
use super::record::Record;
use crate::Error;
use crate::engine::Config;

/// Scopes are named as Docker's.
const PREFIX: &str = "docker";

/// As the runtime is told.
pub(crate) fn named(record: &Record, config: &Config) -> String {
    let parent = match record.host.resources.cgroup_parent.as_str() {
        "" => &config.cgroup_parent,
        chosen => chosen,
    };
    config.cgroups.below(parent, PREFIX, record.id.as_str())
}

/// Below the hierarchies' tops.
pub(crate) fn directory(record: &Record, config: &Config) -> String {
    // A parent that is no slice was made with another driver: nothing of it runs any more.
    config.cgroups.directory(&named(record, config)).unwrap_or_default()
}

/// The cgroups right below the configured parent that are containers', with their ids.
pub(crate) fn found(config: &Config) -> Vec<(Id, String)> {
    let parent = config.cgroups.parent(&config.cgroup_parent).unwrap_or_default();
    let parent = parent.trim_end_matches('/');
    let of_ours = |name: String| {
        let id = match config.cgroups {
            CgroupDriver::Cgroupfs => Id::parse(&name),
            CgroupDriver::Systemd => {
                let id = name.strip_prefix(PREFIX)?.strip_prefix('-')?.strip_suffix(".scope")?;
                Id::parse(id)
            }
        };
        Some((id?, format!("{parent}/{name}")))
    };
    leftovers::children(parent).into_iter().filter_map(of_ours).collect()
}

/// Refuses a parent that the driver cannot use.
pub(crate) fn check_parent(parent: &str, config: &Config) -> Result<(), Error> {
    config.cgroups.check_parent(parent).map_err(|wrong| Error::Invalid(wrong.into()))
}
