//! User namespaces: whose ids a container has on the host.
//!
//! | `--userns` | ids |
//! |---|---|
//! | (nothing) | as the daemon's `userns-remap` says; without it the host's |
//! | `host` | the host's |
//! | `auto` | 65536 that no other container has, from the daemon's pool; free again when the container is removed |
//! | `remap:<user>[:<group>]` | the subordinate ids of an account |
//!
//! They are settled at create and recorded: a later change of the host's files or of the daemon's options changes no
//! container. On disk files belong to the container's own ids; mounts map them (`idmap` of the runtime), so that an
//! image's layers and a volume serve containers of all ids.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use spec::api::HostConfig;
use spec::oci::runtime::IdMapping;
use store::archive::Owners;

use super::record::{NetworkMode, network_mode};
use super::subids::{Accounts, Range, SIZE};
use super::{Container, seccomp};
use crate::{Engine, Error, system};

/// Where ranges come from when nothing else is said: ids that systemd and Debian leave alone.
const POOL: Range = Range { first: 0x7000_0000, count: 0x0fff_0000 };
/// overlayfs takes layers whose ids are mapped.
const OLDEST_KERNEL: (u32, u32) = (5, 19);

/// A container's ids on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ids {
    pub(crate) uids: Vec<IdMapping>,
    pub(crate) gids: Vec<IdMapping>,
}

impl Ids {
    fn of(uids: Range, gids: Range) -> Self {
        let map = |range: Range| vec![IdMapping { container_id: 0, host_id: range.first, size: range.count }];
        Self { uids: map(uids), gids: map(gids) }
    }

    /// The host's ids of a user and a group of the container; `None` where it has not both.
    pub(crate) fn outside(&self, uid: u32, gid: u32) -> Option<(u32, u32)> {
        let find = |maps: &[IdMapping], id: u32| {
            maps.iter().find_map(|map| {
                let above = id.checked_sub(map.container_id).filter(|above| *above < map.size)?;
                Some(map.host_id + above)
            })
        };
        find(&self.uids, uid).zip(find(&self.gids, gid))
    }

    /// How many groups it has, counted from 0.
    pub(crate) fn groups(&self) -> u32 {
        self.gids.iter().map(|map| map.size).fold(0, u32::saturating_add)
    }

    fn ranges(&self) -> impl Iterator<Item = Range> {
        self.uids.iter().chain(&self.gids).map(|map| Range { first: map.host_id, count: map.size })
    }
}

/// Whose files are in a tree that is seen with these ids.
pub(crate) fn owners(ids: Option<&Ids>) -> Owners<'_> {
    ids.map_or(Owners::default(), |ids| Owners { uids: &ids.uids, gids: &ids.gids })
}

/// `HostConfig.UsernsMode`, or `userns-remap`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Mode<'t> {
    /// As the daemon says.
    Default,
    Host,
    Auto,
    Remap(&'t str),
}

fn mode(text: &str) -> Option<Mode<'_>> {
    Some(match text {
        "" => Mode::Default,
        "host" => Mode::Host,
        "auto" => Mode::Auto,
        _ => Mode::Remap(text.strip_prefix("remap:").filter(|account| !account.is_empty())?),
    })
}

/// Refuses what is no mode.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    match mode(text) {
        Some(_) => Ok(()),
        None => Err(Error::Invalid(format!(
            "invalid user namespace mode: {text}: expected host, auto or remap:USER[:GROUP]"
        ))),
    }
}

/// What the daemon knows of user namespaces.
#[derive(Debug, Default)]
pub(crate) struct Userns {
    remap: Remap,
    /// Ranges for `auto`: of users and of groups.
    pool: Vec<(Range, Range)>,
    /// First ids of ranges for containers that are being made.
    reserved: Mutex<Vec<Range>>,
}

/// What containers have that ask for nothing.
#[derive(Debug, Default)]
enum Remap {
    #[default]
    Off,
    /// The same for all.
    Ids(Ids),
    /// Each its own.
    Auto,
}

impl Userns {
    /// `remap`: empty, `auto`, or an account. `pool`: empty, an account, or `first:count`.
    pub(crate) fn open(remap: &str, pool: &str) -> Result<Self, Error> {
        let mut accounts = Accounts::read()?;
        if remap == "default" {
            accounts.give_default()?;
        }
        let remap = match remap {
            "" => Remap::Off,
            "auto" => Remap::Auto,
            account => match accounts.remap(account)? {
                Some(ids) => Remap::Ids(ids),
                None => {
                    tracing::warn!("root cannot be remapped to itself: user namespaces are off");
                    Remap::Off
                }
            },
        };
        if !matches!(remap, Remap::Off) {
            check_kernel()?;
        }
        Ok(Self { remap, pool: cut(pool, &accounts)?, reserved: Mutex::default() })
    }

    /// Whether containers have ids of their own unless they ask for the host's.
    pub(crate) fn is_on(&self) -> bool {
        !matches!(self.remap, Remap::Off)
    }

    fn reserved(&self) -> MutexGuard<'_, Vec<Range>> {
        // Only whole ranges are pushed and taken under this lock.
        self.reserved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The ranges of a pool.
fn cut(pool: &str, accounts: &Accounts) -> Result<Vec<(Range, Range)>, Error> {
    let slices = |range: &Range| {
        let (first, slices) = (range.first, range.count / SIZE);
        (0..slices).map(move |n| Range { first: first + n * SIZE, count: SIZE })
    };
    let whole = match pool.split_once(':') {
        None if pool.is_empty() => POOL,
        None => {
            let (uids, gids) = accounts.ranges_of(pool);
            let uids = uids.iter().flat_map(slices);
            return Ok(uids.zip(gids.iter().flat_map(slices)).filter(|(uid, _)| uid.first != 0).collect());
        }
        Some((first, count)) => {
            let read = |text: &str| text.parse::<u32>().ok();
            match (read(first), read(count)) {
                (Some(first), Some(count)) if first > 0 && first.checked_add(count).is_some() => {
                    Range { first, count }
                }
                _ => {
                    return Err(Error::Invalid(format!(
                        "userns-pool: {pool:?} is neither an account with ranges in /etc/subuid and /etc/subgid nor FIRST:COUNT"
                    )));
                }
            }
        }
    };
    // What an account has is its own.
    let given = accounts.given();
    let free = |range: &Range| !given.iter().any(|other| range.overlaps(*other));
    Ok(slices(&whole).filter(free).map(|range| (range, range)).collect())
}

fn check_kernel() -> Result<(), Error> {
    let release = system::kernel();
    let version = seccomp::kernel(&release).unwrap_or_default();
    if version >= OLDEST_KERNEL {
        return Ok(());
    }
    Err(Error::NotImplemented(format!(
        "user namespaces need Linux 5.19 or newer, this is {release}: run containers with --userns=host and the daemon without userns-remap"
    )))
}

/// What does not go together with ids of its own, in Docker's words.
fn conflicts(host: &HostConfig) -> Result<(), Error> {
    let text = match () {
        () if host.privileged => {
            "privileged mode is incompatible with user namespaces.  You must run the container in the host namespace when running privileged mode"
        }
        () if network_mode(&host.network_mode) == NetworkMode::Host => {
            "cannot share the host's network namespace when user namespaces are enabled"
        }
        () if host.pid_mode == "host" => {
            "cannot share the host PID namespace when user namespaces are enabled"
        }
        () => return Ok(()),
    };
    Err(Error::Invalid(text.into()))
}

/// A range that is held for a container being made.
#[derive(Debug)]
pub(crate) struct Held<'e> {
    userns: &'e Userns,
    range: Range,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.userns.reserved().retain(|range| *range != self.range);
    }
}

impl Engine {
    /// The ids of a container to be made, and what has to be kept until it is recorded. `joined`: those whose
    /// namespaces it shares. `None`: the host's.
    pub(crate) fn settle_ids(
        &self,
        host: &HostConfig,
        joined: &[Arc<Container>],
    ) -> Result<(Option<Ids>, Option<Held<'_>>), Error> {
        check(&host.userns_mode)?;
        let mode = mode(&host.userns_mode).unwrap_or(Mode::Host);
        let userns = &self.inner.userns;
        if mode == Mode::Host || mode == Mode::Default && joined.is_empty() && !userns.is_on() {
            return Ok((None, None));
        }
        if !joined.is_empty() {
            let ids = ids_of(joined, mode == Mode::Default)?;
            if ids.is_some() {
                conflicts(host)?;
            }
            return Ok((ids, None));
        }
        conflicts(host)?;
        check_kernel()?;
        match (mode, &userns.remap) {
            (Mode::Default, Remap::Ids(ids)) => Ok((Some(ids.clone()), None)),
            (Mode::Remap(account), _) => match Accounts::read()?.remap(account)? {
                Some(ids) => Ok((Some(ids), None)),
                None => Err(Error::Invalid("root cannot be remapped to itself: use --userns=host".into())),
            },
            (Mode::Auto | Mode::Default | Mode::Host, _) => {
                let (ids, held) = self.take_range()?;
                Ok((Some(ids), Some(held)))
            }
        }
    }

    /// A range that nobody has. The records say who has one.
    fn take_range(&self) -> Result<(Ids, Held<'_>), Error> {
        let userns = &self.inner.userns;
        let mut reserved = userns.reserved();
        let views = self.inner.containers.all().into_iter().map(|container| container.view());
        let mut taken: Vec<Range> = views
            .filter_map(|v| v.record.ids.clone())
            .flat_map(|ids| ids.ranges().collect::<Vec<_>>())
            .collect();
        taken.extend(reserved.iter().copied());
        let free = |(uids, gids): &&(Range, Range)| {
            !taken.iter().any(|other| other.overlaps(*uids) || other.overlaps(*gids))
        };
        match userns.pool.iter().find(free) {
            Some(&(uids, gids)) => {
                reserved.push(uids);
                Ok((Ids::of(uids, gids), Held { userns, range: uids }))
            }
            None => Err(Error::Conflict(format!(
                "no range of ids is left for --userns=auto ({} in the pool): remove containers, or give the daemon a larger userns-pool",
                userns.pool.len()
            ))),
        }
    }
}

/// Who shares a namespace shares the user namespace that it belongs to.
fn ids_of(joined: &[Arc<Container>], may_share: bool) -> Result<Option<Ids>, Error> {
    let mut all = joined.iter().map(|container| container.view().record.ids.clone());
    let first = all.next().flatten();
    if all.any(|other| other != first) {
        return Err(Error::Conflict(
            "the containers whose namespaces are to be joined have different user namespaces".into(),
        ));
    }
    if may_share {
        return Ok(first);
    }
    Err(Error::Invalid(
        "conflicting options: a container that joins a namespace of another one has that one's user namespace: leave --userns out"
            .into(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_read() {
        for (text, expected) in [
            ("", Some(Mode::Default)),
            ("host", Some(Mode::Host)),
            ("auto", Some(Mode::Auto)),
            ("remap:ann:staff", Some(Mode::Remap("ann:staff"))),
            ("remap:", None),
            ("other", None),
        ] {
            assert_eq!(mode(text), expected, "{text}");
            assert_eq!(check(text).is_ok(), expected.is_some());
        }
    }

    #[test]
    fn a_pool_is_cut_into_ranges() {
        let accounts = Accounts::default();
        assert_eq!(cut("", &accounts).unwrap().len(), 4095);
        let cut = |pool: &str| super::cut(pool, &accounts);
        assert_eq!(cut("100000:200000").unwrap().len(), 3);
        assert_eq!(cut("100000:65535").unwrap().len(), 0);
        assert_eq!(cut("somebody").unwrap().len(), 0);
        for bad in ["0:65536", "1:x", "4294967295:2", ":"] {
            assert!(cut(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_found_in_every_range() {
        let map = |container_id, host_id, size| IdMapping { container_id, host_id, size };
        let ids = Ids { uids: vec![map(0, 1000, 10), map(10, 5000, 10)], gids: vec![map(0, 7000, 20)] };
        assert_eq!(ids.outside(0, 0), Some((1000, 7000)));
        assert_eq!(ids.outside(12, 19), Some((5002, 7019)));
        assert_eq!(ids.outside(20, 0), None);
        assert_eq!(ids.groups(), 20);
    }

    #[test]
    fn conflicts_are_told_in_dockers_words() {
        let host = |change: fn(&mut HostConfig)| {
            let mut host = HostConfig::default();
            change(&mut host);
            conflicts(&host).map_err(|e| e.to_string())
        };
        assert!(host(|_| {}).is_ok());
        assert!(host(|h| h.privileged = true).unwrap_err().starts_with("privileged mode is incompatible"));
        assert!(host(|h| h.network_mode = "host".into()).unwrap_err().contains("network namespace"));
        assert!(host(|h| h.pid_mode = "host".into()).unwrap_err().contains("PID namespace"));
    }
}
