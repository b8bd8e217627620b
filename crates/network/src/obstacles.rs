//! What on this host hinders our networks and is its administrator's to change: they are told what, and what to do.

use sys::xtables::{self, Forward};

use crate::Networks;
use crate::network::{Driver, Network};
use crate::networks::{Core, Entry};
use crate::options::{GatewayMode, Options};

impl Networks {
    /// Sentences about all networks, or the one of that name or id. What cannot be asked is no obstacle.
    #[must_use]
    pub fn obstacles(&self, of: Option<&str>) -> Vec<String> {
        let is_meant = |network: &&Network| {
            let named = of.is_none_or(|of| network.name == of || network.id.as_str() == of);
            named && network.driver == Driver::Bridge && !network.internal
        };
        let networks = self.list();
        let networks: Vec<&Network> = networks.iter().filter(is_meant).collect();
        let legacy = [false, true].into_iter().filter_map(|v6| dropped(v6, &networks));
        self.broken(of).into_iter().chain(legacy).chain(rejected(&self.core, &networks)).collect()
    }
}

impl Networks {
    /// What networks lack since this daemon's start.
    fn broken(&self, of: Option<&str>) -> Vec<String> {
        let state = self.core.state();
        let meant = state
            .networks
            .values()
            .filter(|entry| of.is_none_or(|of| entry.network.name == of || entry.network.id.as_str() == of));
        let told = |entry: &Entry| {
            let why = entry.trouble.as_ref()?;
            Some(format!("no container can be connected to network {}: {why}", entry.network.name))
        };
        meant.filter_map(told).collect()
    }
}

/// A policy of iptables-legacy to drop what is forwarded: its tables can only be replaced as a whole, which would undo what
/// others change meanwhile. (Those of nftables, and of iptables on it, we add rules to: `host_chains`.)
fn dropped(v6: bool, networks: &[&Network]) -> Option<String> {
    let forward = xtables::forward(v6).ok()??;
    if !forward.drops {
        return None;
    }
    let bridges = networks.iter().filter(|network| if v6 { network.v6 } else { network.v4 });
    let missing = bridges.filter(|network| !passes(&forward, &network.interface));
    let program = if v6 { "ip6tables-legacy" } else { "iptables-legacy" };
    let rules = missing.map(|network| {
        let bridge = &network.interface;
        format!("{program} -I FORWARD -i {bridge} -j ACCEPT; {program} -I FORWARD -o {bridge} -j ACCEPT")
    });
    let rules: Vec<String> = rules.collect();
    (!rules.is_empty()).then(|| {
        format!(
            "{program} drops what is forwarded, so containers reach nothing outside of their network, nor are they \
             reached; let it pass: {}",
            rules.join("; ")
        )
    })
}

fn passes(forward: &Forward, bridge: &str) -> bool {
    let names = |name: &String| match name.strip_suffix('+') {
        Some(start) => bridge.starts_with(start),
        None => name == bridge,
    };
    forward.from.iter().any(names) && forward.to.iter().any(names)
}

/// firewalld rejects what comes from one zone to another but answers and what is led to another address: containers of
/// routed networks are reached at their own.
fn rejected(core: &Core, networks: &[&Network]) -> Option<String> {
    let is_routed = |network: &&&Network| {
        let options = Options::read(&network.options).ok();
        options.is_some_and(|o| [true, false].iter().any(|v4| o.gateway_mode(*v4) == GatewayMode::Routed))
    };
    let routed: Vec<&str> = networks.iter().filter(is_routed).map(|network| network.name.as_str()).collect();
    if routed.is_empty() {
        return None;
    }
    let zone = core.firewalld.rejecting().ok()??;
    let policy = "firewall-cmd --permanent --policy corten-forwarding";
    Some(format!(
        "firewalld rejects what comes from outside for the containers of {}; let it pass: firewall-cmd --permanent \
         --new-policy corten-forwarding; {policy} --add-ingress-zone ANY; {policy} --add-egress-zone {zone}; {policy} \
         --set-target ACCEPT; firewall-cmd --reload",
        routed.join(", ")
    ))
}
