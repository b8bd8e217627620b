//! Networks on this host: namespaces, bridges, address pools, nftables, published ports, names.
//!
//! Of a container this room knows its id and its names, no more. Everything is blocking; netlink only, no helper
//! program is run. All nftables rules are in one table of ours (`inet <table>`), published ports are elements of its
//! maps: they go on working while no daemon runs.
//!
//! | room | what is in it |
//! |---|---|
//! | `networks` | [`Networks`]: what it knows, and looking it up |
//! | `open`, `create`, `remove`, `connect`, `publish`, `disconnect`, `release`, `shutdown` | its verbs |
//! | `network`, `options`, `endpoint`, `port` | the things: as asked for, as made; who has which port |
//! | `pool`, `allocate` | subnets and addresses: which are free; what an endpoint is given |
//! | `bridge`, `parent`, `namespace`, `ready`, `leftover` | what is made in the kernel; made beforehand; removed afterwards |
//! | `forwarding` | that the kernel forwards |
//! | `redirection` | where published ports lead |
//! | `firewall`, `host_chains`, `firewalld`, `watch` | our nftables table; passing those of others; putting it back |
//! | `obstacles` | what of the host's own hinders us, and what its administrator can do |
//! | `relay`, `pump` | published ports that the kernel cannot redirect |
//! | `names`, `resolver`, `upstream` | what a name means; the server at 127.0.0.11; asking the host's servers |
//! | `resolv` | resolv.conf, read and written |
//! | `record`, `earlier` | the files below; those of earlier versions |
//!
//! ```text
//! <state>/networks/<id>.json       the networks
//! <run>/endpoints/<container>.json    who is connected, with address, MAC, ports: survives the daemon, not the machine
//! <state>/networks/ip_forward, ip6_forward  there if forwarding was off before us: what it was
//! ```
//!
//! A container's namespace is held by the container's processes alone (and by its name server's sockets, until
//! [`Networks::release`]): when they are gone the kernel removes it, with its end of the veth pair and the other.
//!
//! Threads: one keeps namespaces ready, one answers names, one relays ports, one removes leftovers, one watches the
//! table; short-lived ones that enter a namespace. All work in the network namespace of the thread that called [`Networks::open`], which must be the callers' as well.

#![deny(missing_docs)]

mod allocate;
mod bridge;
mod connect;
mod create;
mod disconnect;
mod earlier;
mod endpoint;
mod error;
mod firewall;
mod firewalld;
mod forwarding;
mod host_chains;
mod leftover;
mod names;
mod namespace;
mod network;
mod networks;
mod obstacles;
mod open;
mod options;
mod parent;
mod pool;
mod port;
mod publish;
mod pump;
mod ready;
mod record;
mod redirection;
mod relay;
mod release;
mod remove;
mod resolv;
mod resolver;
mod shutdown;
mod upstream;
mod watch;

/// Answers a container's DNS query, where no container has a name: for the fuzz target alone.
#[cfg(fuzzing)]
pub fn answers(query: &[u8]) -> bool {
    let (state, nobody) = (networks::State::default(), spec::Id::from_bytes([1; 32]));
    names::answer(&state, &nobody, query, 0, names::UDP_LIMIT) != names::Answer::Ignore
}

pub use endpoint::{Address, Endpoint, EndpointRequest, Sandbox};
pub use error::Error;
pub use network::{Driver, Network, NewNetwork};
pub use networks::{Config, DefaultNetwork, Networks, Usage};
pub use pool::{Pool, Range, Subnet};
pub use port::{PortRequest, PublishedPort};
pub use resolv::ResolvConf;
