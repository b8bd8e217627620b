//! What can go wrong, and its kind.

use std::net::IpAddr;

use spec::{ErrorKind, Id};

/// A failure of this room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No network of that name or id.
    #[error("network {0} not found")]
    NotFound(String),
    /// No driver of that name.
    #[error("plugin {0:?} not found")]
    NoDriver(String),
    /// The name is taken.
    #[error("network with name {0} already exists")]
    Exists(String),
    /// A network that is used cannot be removed.
    #[error("error while removing network: network {network} has active endpoints ({endpoints})")]
    InUse {
        /// The network's name.
        network: String,
        /// `name:"c" id:"…"` of each.
        endpoints: String,
    },
    /// One of our containers has the host port.
    #[error("Bind for {host} failed: port is already allocated{holder}")]
    PortTaken {
        /// `0.0.0.0:8080`.
        host: String,
        /// ` (by container NAME)`, or that no port of a range is free.
        holder: String,
    },
    /// Another program of the host's has the port.
    #[error("failed to bind host port {0}: address already in use (by another process on the host)")]
    PortBound(String),
    /// A fixed address is taken.
    #[error("Address already in use: {ip}{holder}")]
    AddressTaken {
        /// The address.
        ip: IpAddr,
        /// ` (by container NAME)`, or empty.
        holder: String,
    },
    /// A network has no free address.
    #[error("no available {family} addresses on this network's address pools: {network} ({subnet})")]
    AddressesUsedUp {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// The network's name.
        network: String,
        /// Its subnet.
        subnet: String,
    },
    /// Every subnet of the pools overlaps with a network or a route of this host.
    #[error(
        "all predefined address pools have been fully subnetted: remove unused networks, give --subnet, or add pools"
    )]
    PoolsUsedUp,
    /// A chosen subnet is used already.
    #[error("invalid pool request: Pool overlaps with other one on this address space: {subnet} and {other}")]
    Overlap {
        /// What was asked for.
        subnet: String,
        /// Who has it.
        other: String,
    },
    /// A network's bridge is not in the kernel any more.
    #[error(
        "could not find bridge {0}: it was removed from this host; the daemon makes it again when it is started again"
    )]
    BridgeGone(String),
    /// A bridge has no room for one more port (`BR_MAX_PORTS` of the kernel).
    #[error(
        "bridge {0} has its 1023 ports, and the kernel allows no more: put the container on another network (network create)"
    )]
    BridgeFull(String),
    /// The container's process has ended, and its namespace with it.
    #[error("container {0} is not running")]
    Ended(Id),
    /// The request makes no sense: what and why.
    #[error("{0}")]
    Invalid(String),
    /// A predefined network was to be removed or made.
    #[error("{0}")]
    Forbidden(String),
    /// A record on disk is not readable as one.
    #[error("read record {path}")]
    Record {
        /// The file.
        path: String,
        /// Why.
        source: serde_json::Error,
    },
    /// The kernel refused.
    #[error("{step} {object}")]
    Kernel {
        /// What was tried.
        step: &'static str,
        /// On what.
        object: String,
        /// Why.
        source: std::io::Error,
    },
    /// Several steps of a teardown failed; the others were done.
    #[error("{}", .0.iter().map(chain).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

impl Error {
    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotFound(_) | Self::NoDriver(_) => ErrorKind::NotFound,
            Self::Exists(_) | Self::Ended(_) => ErrorKind::Conflict,
            Self::InUse { .. } | Self::AddressTaken { .. } | Self::Overlap { .. } | Self::Forbidden(_) => {
                ErrorKind::Forbidden
            }
            Self::Invalid(_) => ErrorKind::InvalidParameter,
            Self::PortTaken { .. }
            | Self::PortBound(_)
            | Self::AddressesUsedUp { .. }
            | Self::PoolsUsedUp
            | Self::BridgeGone(_)
            | Self::BridgeFull(_)
            | Self::Record { .. }
            | Self::Kernel { .. } => ErrorKind::Internal,
            Self::Several(errors) => errors.first().map_or(ErrorKind::Internal, Self::kind),
        }
    }

    /// One error of many; success if there is none.
    pub(crate) fn collect(mut errors: Vec<Self>) -> Result<(), Self> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            _ => Err(Self::Several(errors)),
        }
    }
}

/// An error's text with its causes', as a frontier prints it.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl From<sys::Error> for Error {
    fn from(e: sys::Error) -> Self {
        Self::Kernel { step: e.step, object: e.object, source: e.source }
    }
}
