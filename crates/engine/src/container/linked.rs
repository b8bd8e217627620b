//! `--link`, as it is from the time before networks had names: on the default bridge a linked container's names stand
//! in the hosts file. (On networks of the user's a link is an alias in the name service: `crate::network`.) The
//! environment variables of old links are gone, as in Docker 29.

use std::net::IpAddr;
use std::sync::Arc;

use spec::api::HostConfig;

use super::record::{NetworkMode, Record};
use super::state::Phase;
use super::{Container, files};
use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error};

/// The network on which links are lines of the hosts file.
const DEFAULT: &str = "bridge";

/// `name[:alias]`, or the form in which inspect shows it: `/name:/parent/alias`.
pub(crate) fn parse(text: &str) -> Result<(&str, &str), Error> {
    let parts: Vec<&str> = text.split(':').collect();
    match parts[..] {
        [""] => Err(Error::Invalid("empty string specified for links".into())),
        [name] => Ok((name, name)),
        [name, alias] if name.starts_with('/') => Ok((&name[1..], alias.rsplit('/').next().unwrap_or(alias))),
        [name, alias] => Ok((name, alias)),
        _ => Err(Error::Invalid(format!("bad format for links: {text}"))),
    }
}

impl Engine {
    /// Looks up the links of a create request, and notes each target by its id: its name may change.
    pub(crate) fn resolve_links(&self, host: &mut HostConfig) -> Result<(), Error> {
        for link in &mut host.links {
            let (name, alias) = parse(link)?;
            let missing = |name: &str| {
                let error = Error::NoSuchContainer(name.to_owned());
                Error::Invalid(format!("could not get container for {name}: {error}"))
            };
            let mut target = self.inner.containers.find(name).map_err(|_| missing(name))?;
            // A container in another's network is reached there.
            while let NetworkMode::Container(other) = target.view().record.network_mode() {
                target = self.inner.containers.find(&other).map_err(|_| missing(&other))?;
            }
            if target.view().record.network_mode() == NetworkMode::Host {
                return Err(Error::Invalid(
                    "conflicting options: host type networking can't be used with links. This would result in undefined behavior".into(),
                ));
            }
            *link = format!("{}:{alias}", target.id);
        }
        Ok(())
    }

    /// What inspect shows: `/name:/parent/alias`.
    pub(crate) fn shown_links(&self, record: &Record) -> Vec<String> {
        let shown = |link: &String| {
            let (id, alias) = link.split_once(':')?;
            let target = self.inner.containers.find(id).ok()?;
            Some(format!("/{}:/{}/{alias}", target.view().record.name, record.name))
        };
        record.host.links.iter().filter_map(shown).collect()
    }

    /// `DELETE /containers/{parent}/{alias}?link=1`: the parent's link of that name goes, also from its hosts file.
    pub async fn remove_link(&self, path: &str) -> Result<(), Error> {
        let trimmed = path.trim_start_matches('/');
        let Some((parent, alias)) = trimmed.rsplit_once('/') else {
            self.inner.containers.find(trimmed)?;
            let text = "Conflict, cannot remove the default link name of the container";
            return Err(Error::Conflict(text.into()));
        };
        let (engine, container) = (self.clone(), self.inner.containers.find(parent)?);
        let (shown, alias) = (trimmed.to_owned(), alias.to_owned());
        to_the_end(async move {
            let _verbs = container.verbs.lock().await;
            let mut record = (*container.view().record).clone();
            let is_meant = |link: &String| parse(link).is_ok_and(|(_, name)| name == alias);
            let Some(at) = record.host.links.iter().position(is_meant) else {
                return Err(Error::NoSuchContainer(shown));
            };
            record.host.links.remove(at);
            container.commit_record(record).await?;
            if !container.view().state.is_alive() || engine.shares_files(&container) {
                return Ok(());
            }
            let linked = container.clone();
            lasting(move || change_hosts(&linked, |hosts| without(hosts, &alias))).await
        })
        .await
    }

    /// Whether its hosts file is another container's.
    fn shares_files(&self, container: &Container) -> bool {
        matches!(container.view().record.network_mode(), NetworkMode::Container(_))
    }

    /// The lines of a container's links for its hosts file: names of an address. All targets must run.
    pub(crate) fn linked_hosts(&self, record: &Record) -> Result<String, Error> {
        let mut lines = String::new();
        if !record.networks.contains_key(DEFAULT) {
            return Ok(lines);
        }
        for link in &record.host.links {
            let (id, alias) = parse(link)?;
            let target = self.inner.containers.find(id)?;
            let view = target.view();
            let name = &view.record.name;
            if !matches!(view.state.phase, Phase::Running | Phase::Paused | Phase::Restarting) {
                return Err(Error::Conflict(format!(
                    "Cannot link to a non running container: /{name} AS /{}/{alias}",
                    record.name
                )));
            }
            let on_default = view.network.endpoints.iter().find(|e| e.network_name == DEFAULT);
            let Some(endpoint) = on_default else {
                return Err(Error::Conflict(format!(
                    "Cannot link to /{name}, as it does not belong to the default network"
                )));
            };
            let hostname = super::start::hostname(&view.record);
            let own = if alias == name { String::new() } else { format!(" {name}") };
            for address in endpoint.addresses() {
                lines.push_str(&format!("{}\t{alias} {hostname}{own}\n", address.ip));
            }
        }
        Ok(lines)
    }

    /// A container has an address on the default bridge: those that link to it learn it. Blocking.
    pub(crate) fn tell_linked(&self, container: &Arc<Container>) -> Result<(), Error> {
        let view = container.view();
        let Some(endpoint) = view.network.endpoints.iter().find(|e| e.network_name == DEFAULT) else {
            return Ok(());
        };
        for parent in self.inner.containers.all() {
            let theirs = parent.view();
            for link in theirs.record.host.links.iter().filter(|_| theirs.state.is_alive()) {
                let Some((id, alias)) = link.split_once(':') else { continue };
                if id == container.id.as_str() {
                    let ips: Vec<_> = endpoint.addresses().map(|address| address.ip).collect();
                    change_hosts(&parent, |hosts| {
                        ips.iter().fold(hosts.to_owned(), |hosts, ip| with_address(&hosts, alias, *ip))
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Changes the hosts file of a container that runs. Blocking.
fn change_hosts(container: &Container, change: impl FnOnce(&str) -> String) -> Result<(), Error> {
    files::change(&container.places.run.join("hosts"), change)
}

/// A hosts file without the line whose first name is `alias`.
fn without(hosts: &str, alias: &str) -> String {
    let other = |line: &&str| line.starts_with('#') || line.split_whitespace().nth(1) != Some(alias);
    hosts.lines().filter(other).map(|line| format!("{line}\n")).collect()
}

/// A hosts file in which the line of the address's family whose first name is `alias` has this address.
fn with_address(hosts: &str, alias: &str, ip: IpAddr) -> String {
    let is_meant = |first: &str, names: &str| {
        names.split_whitespace().next() == Some(alias)
            && first.parse::<IpAddr>().is_ok_and(|before| before.is_ipv4() == ip.is_ipv4())
    };
    let line = |line: &str| match line.split_once(['\t', ' ']) {
        Some((first, names)) if is_meant(first, names) => format!("{ip}\t{names}\n"),
        _ => format!("{line}\n"),
    };
    hosts.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_read_in_both_forms() {
        assert_eq!(parse("db").unwrap(), ("db", "db"));
        assert_eq!(parse("db:alias").unwrap(), ("db", "alias"));
        assert_eq!(parse("/db:/web/alias").unwrap(), ("db", "alias"));
        for bad in ["", "a:b:c"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_the_links_line_changes() {
        let hosts = "127.0.0.1\tlocalhost\n172.17.0.2\tdb abc\n172.17.0.3\tdb2\n# db\n";
        let changed = with_address(hosts, "db", "172.17.0.9".parse().unwrap());
        assert_eq!(changed, "127.0.0.1\tlocalhost\n172.17.0.9\tdb abc\n172.17.0.3\tdb2\n# db\n");
        assert_eq!(without(hosts, "db"), "127.0.0.1\tlocalhost\n172.17.0.3\tdb2\n# db\n");
    }
}
