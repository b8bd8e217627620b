//! Every directive of daemon.json and its flag, in one table: what it is called, how its value is written, and what
//! becomes of it. The command line, its help, the file's checks and their errors are all read from here.
//!
//! Names are dockerd 29's. What Corten does not do is in the table too: a directive is honoured, or refused with the
//! reason, never unknown by accident.

/// A directive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    /// Its name in daemon.json.
    pub(crate) name: &'static str,
    /// The flag without its dashes; `None` for what only the file can say.
    pub(crate) flag: Option<&'static str>,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
    pub(crate) fate: Fate,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Number,
    Text,
    /// Strings; the flag may be repeated.
    List,
    /// `key=value`; an object of strings in the file.
    Pairs,
    /// `name=true`; an object of booleans in the file.
    Switches,
    /// `base=10.0.0.0/8,size=24`; a list of objects in the file.
    Pools,
    /// `nofile=1024:2048`; an object of objects in the file.
    Ulimits,
    /// `name=path`; an object of objects in the file.
    Runtimes,
    /// `bridge=key=value`; an object of objects of strings in the file.
    Nested,
    /// An object that only the file can hold.
    Object,
    /// A list of objects that only the file can hold.
    Objects,
}

/// What becomes of a directive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fate {
    /// It is honoured.
    Works,
    /// There is nothing to set: any value is as good as another.
    Moot,
    /// Only one value is what happens; another one is taken, with a warning that says why it changes nothing.
    Warned(Ours, &'static str),
    /// Only one value can be had; another one is refused with the reason.
    Refused(Ours, &'static str),
}

/// The value that is what happens anyway.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ours {
    True,
    /// False, zero, empty: as if nothing had been said.
    Nothing,
    /// One of these, or empty.
    Words(&'static [&'static str]),
}

/// Directives that belong together, as `--help` shows them.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [Key],
}

const fn key(name: &'static str, flag: &'static str, kind: Kind, help: &'static str) -> Key {
    Key { name, flag: Some(flag), short: None, kind, help, fate: Fate::Works }
}

/// Flag and directive have one name.
const fn same(name: &'static str, kind: Kind, help: &'static str) -> Key {
    key(name, name, kind, help)
}

const fn file_only(name: &'static str, kind: Kind) -> Key {
    Key { name, flag: None, short: None, kind, help: "", fate: Fate::Works }
}

impl Key {
    const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    const fn moot(mut self) -> Self {
        self.fate = Fate::Moot;
        self
    }

    const fn warned(mut self, ours: Ours, why: &'static str) -> Self {
        self.fate = Fate::Warned(ours, why);
        self
    }

    const fn refused(mut self, ours: Ours, why: &'static str) -> Self {
        self.fate = Fate::Refused(ours, why);
        self
    }
}

use Kind::{Bool, List, Nested, Number, Object, Objects, Pairs, Pools, Runtimes, Switches, Text, Ulimits};
use Ours::{Nothing, True, Words};

const DAEMON: &[Key] = &[
    same("data-root", Text, "Directory of what outlives a boot [default: /var/lib/corten]"),
    same("exec-root", Text, "Directory of what does not [default: /run/corten]"),
    same("pidfile", Text, "File that gets this process's pid").short('p'),
    same(
        "shutdown-timeout",
        Number,
        "Seconds that requests in flight may take at the end, -1 for ever [default: 15]",
    ),
    key("labels", "label", List, "Label of this daemon, KEY=VALUE (repeatable)"),
    same("metrics-addr", Text, "Address that serves Prometheus metrics, HOST:PORT"),
    key("features", "feature", Switches, "Switch a feature, NAME=true|false (repeatable)"),
    same("experimental", Bool, "Tell clients that experimental features are on"),
    same("live-restore", Bool, "").warned(True, "containers always outlive the daemon"),
];

const API: &[Key] = &[
    key(
        "hosts",
        "host",
        List,
        "Where to listen (repeatable): unix:///PATH, tcp://ADDRESS:PORT, fd:// for systemd's sockets [default: \
         unix://<exec-root>/corten.sock]",
    )
    .short('H'),
    same("group", Text, "Group that may use unix sockets [default: corten, else docker]").short('G'),
    same("tls", Bool, "Use TLS on TCP; --tls=false serves any address without it"),
    same("tlsverify", Bool, "Use TLS on TCP, and let only clients in whose certificate the CA has signed"),
    same("tlscacert", Text, "CA that signs clients' certificates, PEM [default: ~/.docker/ca.pem]"),
    same("tlscert", Text, "This daemon's certificate, PEM [default: ~/.docker/cert.pem]"),
    same("tlskey", Text, "Its key, PEM [default: ~/.docker/key.pem]"),
    file_only("min-api-version", Text),
    key("authorization-plugins", "authorization-plugin", List, "")
        .refused(Nothing, "authorization plugins are not supported"),
    same("api-cors-header", Text, "").refused(Nothing, "put a reverse proxy in front if you need CORS headers"),
];

const LOG: &[Key] = &[
    same("debug", Bool, "Log at level debug").short('D'),
    same("log-level", Text, "What to log: trace, debug, info, warn, error, fatal [default: info]").short('l'),
    same("log-format", Text, "How to log: text or json [default: text]"),
    same("raw-logs", Bool, "").moot(),
];

const CONTAINERS: &[Key] = &[
    same("log-driver", Text, "Log driver of new containers [default: json-file]"),
    key("log-opts", "log-opt", Pairs, "Option of the log driver, KEY=VALUE (repeatable)"),
    key(
        "default-ulimits",
        "default-ulimit",
        Ulimits,
        "Limit of new containers, nofile=SOFT:HARD (repeatable)",
    ),
    same("default-shm-size", Text, "Size of /dev/shm in new containers [default: 64m]"),
    same("default-stop-timeout", Number, "Seconds between stop signal and SIGKILL [default: 10]"),
    same("default-runtime", Text, "Runtime of new containers [default: corten]"),
    key("runtimes", "add-runtime", Runtimes, "Another OCI runtime, NAME=PATH (repeatable)"),
    same(
        "default-ipc-mode",
        Text,
        "IPC namespace of new containers: private or shareable [default: private]",
    ),
    same(
        "default-cgroupns-mode",
        Text,
        "Cgroup namespace of new containers: private or host [default: private]",
    ),
    same("init", Bool, "Run an init in new containers that forwards signals and reaps"),
    same("no-new-privileges", Bool, "New containers' processes cannot gain privileges"),
    same(
        "seccomp-profile",
        Text,
        "System call filter: builtin, unconfined, or a profile's file [default: builtin]",
    ),
    same(
        "cgroup-parent",
        Text,
        "Parent cgroup of all containers [default: /corten; with systemd: system.slice]",
    ),
    key(
        "exec-opts",
        "exec-opt",
        List,
        "native.cgroupdriver=cgroupfs|systemd (repeatable) [default: systemd with cgroup v2 where it runs the host]",
    ),
    same(
        "shim",
        Text,
        "The corten-shim program [default: beside this program, else /usr/libexec/corten/corten-shim]",
    ),
    same("init-path", Text, "").warned(Nothing, "the init of --init is built in"),
    same(
        "userns-remap",
        Text,
        "Ids of containers on the host: default, USER[:GROUP] with ranges in /etc/subuid and /etc/subgid, or auto for \
         a range of each one's own [default: the host's ids]",
    ),
    same(
        "userns-pool",
        Text,
        "Where auto takes ranges from: USER with ranges in /etc/subuid and /etc/subgid, or FIRST:COUNT [default: \
         1879048192:268369920]",
    ),
    same("selinux-enabled", Bool, "Confine containers by SELinux labels, where the kernel has them"),
    same("rootless", Bool, "").refused(Nothing, "the daemon has to be root"),
    same("cpu-rt-period", Number, "")
        .refused(Nothing, "real-time shares of the parent cgroup are not supported"),
    same("cpu-rt-runtime", Number, "")
        .refused(Nothing, "real-time shares of the parent cgroup are not supported"),
    key(
        "cdi-spec-dirs",
        "cdi-spec-dir",
        List,
        "Directory of CDI specifications (repeatable) [default: /etc/cdi, /var/run/cdi]",
    ),
    key("node-generic-resources", "node-generic-resource", List, "")
        .refused(Nothing, "they are for swarm mode, which is not supported"),
    file_only("nri-opts", Object).refused(Nothing, "NRI plugins are not supported"),
];

const NETWORKS: &[Key] = &[
    same(
        "bridge",
        Text,
        "Interface of the default network, or none to do without that network [default: corten0]",
    )
    .short('b'),
    same("bip", Text, "Address and prefix of the default network's bridge, 10.1.0.1/16"),
    same("fixed-cidr", Text, "Part of the default network from which containers get addresses"),
    same("ipv6", Bool, "Containers on the default network get IPv6 addresses"),
    same("bip6", Text, "IPv6 address and prefix of the default network's bridge, fd00::1/64"),
    same("fixed-cidr-v6", Text, "Part of the default network from which containers get IPv6 addresses"),
    same("default-gateway", Text, "Gateway of containers on the default network [default: its bridge]"),
    same(
        "default-gateway-v6",
        Text,
        "IPv6 gateway of containers on the default network [default: its bridge]",
    ),
    same("mtu", Number, "Largest packet on the default network [default: 1500]"),
    same("icc", Bool, "Containers on the default network reach each other [default: true]"),
    same(
        "ip-masq",
        Bool,
        "Containers on the default network go outside with the host's address [default: true]",
    ),
    same("ip", Text, "Address on which ports of the default network are published [default: 0.0.0.0]"),
    same(
        "default-publish-address",
        Text,
        "Address on which ports of all networks are published that say no other [default: every one]",
    ),
    same(
        "respect-host-firewall",
        Bool,
        "Others reach published ports if the host's firewall lets them reach the host's own",
    ),
    same("allow-direct-routing", Bool, "Others reach published ports at the containers' own addresses, too"),
    same("ip-forward", Bool, "Turn forwarding on in the kernel [default: true]"),
    key(
        "default-address-pools",
        "default-address-pool",
        Pools,
        "Addresses for new networks, base=10.0.0.0/8,size=24 (repeatable)",
    ),
    key(
        "default-network-opts",
        "default-network-opt",
        Nested,
        "Option of new networks, DRIVER=KEY=VALUE (repeatable)",
    ),
    same("dns", List, "Name server of new containers (repeatable)"),
    key("dns-opts", "dns-opt", List, "Option in their resolv.conf (repeatable)"),
    same("dns-search", List, "Search domain in their resolv.conf (repeatable)"),
    key("host-gateway-ips", "host-gateway-ip", List, "What host-gateway means in --add-host (repeatable)"),
    same("firewall-table", Text, "Our nftables table [default: corten]"),
    same("network-ready", Number, "Network namespaces to keep ready for the default network [default: 4]"),
    same("userland-proxy", Bool, "").moot(),
    same("userland-proxy-path", Text, "").moot(),
    same("ip-forward-no-drop", Bool, "").moot(),
    same("network-control-plane-mtu", Number, "").moot(),
    same("iptables", Bool, "").warned(True, "our rules are in an nftables table of their own"),
    same("ip6tables", Bool, "").warned(True, "our rules are in an nftables table of their own"),
    same("firewall-backend", Text, "").refused(Words(&["nftables"]), "rules are made with nftables only"),
    same("bridge-accept-fwmark", Text, "").refused(Nothing, "marks are not supported"),
    file_only("network-diagnostic-port", Number).refused(Nothing, "there is no diagnostic server"),
    same("resolv-conf", Text, "").refused(Nothing, "the host's /etc/resolv.conf is read"),
];

const IMAGES: &[Key] = &[
    key(
        "insecure-registries",
        "insecure-registry",
        List,
        "Registry to speak to without verified TLS, HOST:PORT or CIDR (repeatable)",
    ),
    key(
        "registry-mirrors",
        "registry-mirror",
        List,
        "Where to look for Docker Hub's images first, URL (repeatable)",
    ),
    file_only("mirrors", Object),
    file_only("signature-policy", Objects),
    same("max-concurrent-downloads", Number, "Layers that come at once in a pull [default: 3]"),
    same("max-concurrent-uploads", Number, "Layers that go at once in a push [default: 5]"),
    same("max-download-attempts", Number, "How often a download is tried [default: 5]"),
    same("http-proxy", Text, "Proxy to plain registries [default: $HTTP_PROXY]"),
    same("https-proxy", Text, "Proxy to registries [default: $HTTPS_PROXY]"),
    same("no-proxy", Text, "Hosts that are reached directly, with commas [default: $NO_PROXY]"),
    same("storage-driver", Text, "")
        .short('s')
        .refused(Words(&["overlay2", "overlayfs"]), "layers are on overlayfs only"),
    key(
        "storage-opts",
        "storage-opt",
        List,
        "free-space=SHARE%|SIZE: collect the build cache and images without a name when less is free [default: 5%]",
    ),
    file_only("builder", Object),
    key("allow-nondistributable-artifacts", "allow-nondistributable-artifacts", List, "").moot(),
];

const NOT_HERE: &[Key] = &[
    same("containerd", Text, "").warned(Nothing, "there is no containerd"),
    same("containerd-namespace", Text, "").warned(Nothing, "there is no containerd"),
    key("containerd-plugin-namespace", "containerd-plugins-namespace", Text, "")
        .warned(Nothing, "there is no containerd"),
    same("cri-containerd", Bool, "").refused(Nothing, "there is no containerd"),
    same("swarm-default-advertise-addr", Text, "").refused(Nothing, "swarm mode is not supported"),
    file_only("swarm-raft-heartbeat-tick", Number).refused(Nothing, "swarm mode is not supported"),
    file_only("swarm-raft-election-tick", Number).refused(Nothing, "swarm mode is not supported"),
    file_only("deprecated-key-path", Text).moot(),
];

/// The whole table, in the order of `--help`.
pub(crate) const SECTIONS: &[Section] = &[
    Section { title: "Daemon", keys: DAEMON },
    Section { title: "API", keys: API },
    Section { title: "The daemon's log", keys: LOG },
    Section { title: "Containers", keys: CONTAINERS },
    Section { title: "Networks", keys: NETWORKS },
    Section { title: "Images", keys: IMAGES },
    Section { title: "Not in Corten", keys: NOT_HERE },
];

/// All directives.
pub(crate) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// A directive by its name in the file.
pub(crate) fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_flags_are_unique() {
        let mut names: Vec<_> = all().map(|k| k.name).collect();
        let mut flags: Vec<_> = all().filter_map(|k| k.flag).collect();
        for list in [&mut names, &mut flags] {
            list.sort_unstable();
            let before = list.len();
            list.dedup();
            assert_eq!(list.len(), before);
        }
        for key in all().filter(|k| matches!(k.fate, Fate::Works) && k.flag.is_some()) {
            assert!(!key.help.is_empty(), "{} works, but has no help", key.name);
        }
    }
}
