//! Networks on this host: namespaces, bridges, address pools, nftables, published ports, names.
//!
//! Of a container this room knows its id and its names, no more. Everything is blocking; netlink only, no helper
//! program is run. All nftables rules are in one table of ours (`ip <table>`), published ports are elements of its
//! maps: they go on working while no daemon runs.
//!
//! | room | what is in it |
//! |---|---|
//! | `networks` | [`Networks`]: what it knows, and looking it up |
//! | `open`, `create`, `remove`, `connect`, `publish`, `disconnect`, `release`, `shutdown` | its verbs |
//! | `network`, `endpoint`, `port` | the things: as asked for, as made; who has which port |
//! | `pool` | subnets and addresses: which are free |
//! | `bridge`, `namespace`, `ready`, `leftover` | what is made in the kernel; made beforehand; removed afterwards |
//! | `firewall`, `watch` | our nftables table; putting it back |
//! | `names`, `resolver`, `upstream` | what a name means; the server at 127.0.0.11; asking the host's servers |
//! | `resolv` | resolv.conf, read and written |
//! | `record` | the files below |
//!
//! ```text
//! <state>/networks/<id>.json       the networks
//! <state>/endpoints/<container>.json  who is connected, with address, MAC, ports: survives the daemon
//! <state>/networks/ip_forward      there if forwarding was off before us: what it was
//! ```
//!
//! A container's namespace is held by the container's processes alone (and by its name server's sockets, until
//! [`Networks::release`]): when they are gone the kernel removes it, with its end of the veth pair and the other.
//!
//! Threads: one keeps namespaces ready, one answers names, one removes leftovers, one watches the table; short-lived ones that enter a namespace. All
//! work in the network namespace of the thread that called [`Networks::open`], which must be the callers' as well.

#![deny(missing_docs)]

mod bridge;
mod connect;
mod create;
mod disconnect;
mod endpoint;
mod error;
mod firewall;
mod leftover;
mod names;
mod namespace;
mod network;
mod networks;
mod open;
mod pool;
mod port;
mod publish;
mod ready;
mod record;
mod release;
mod remove;
mod resolv;
mod resolver;
mod shutdown;
mod upstream;
mod watch;

pub use endpoint::{Endpoint, EndpointRequest, Sandbox};
pub use error::Error;
pub use network::{Driver, Network, NewNetwork};
pub use networks::{Config, DefaultNetwork, Networks};
pub use port::{PortRequest, PublishedPort};
pub use resolv::ResolvConf;
