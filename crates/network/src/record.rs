//! Records on disk: one file a network, one a connected container.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use spec::Id;
use sys::file::{self, Durability};

use crate::{Endpoint, Error, Network, PublishedPort, earlier};

/// Directories and files hold addresses and names only, but nobody else needs them.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// A connected container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its id.
    pub(crate) container: Id,
    /// Its name, for messages and reverse look-ups.
    pub(crate) name: String,
    /// In the order of its interfaces.
    pub(crate) endpoints: Vec<Endpoint>,
    /// Published ports.
    pub(crate) ports: Vec<PublishedPort>,
    /// The ports of its name server's sockets, UDP and TCP, in its namespace.
    pub(crate) resolver: Option<(u16, u16)>,
    /// The user's name servers; empty: the host's.
    pub(crate) upstreams: Vec<IpAddr>,
}

/// Where the records are.
#[derive(Debug, Clone)]
pub(crate) struct Records {
    networks: PathBuf,
    endpoints: PathBuf,
    forwarding: PathBuf,
    forwarding6: PathBuf,
}

impl Records {
    /// Makes the directories: in `state` what lasts, in `run` what does not.
    pub(crate) fn open(state: &Path, run: &Path) -> Result<Self, Error> {
        let records = Self {
            networks: state.join("networks"),
            endpoints: run.join("endpoints"),
            forwarding: state.join("networks/ip_forward"),
            forwarding6: state.join("networks/ip6_forward"),
        };
        file::create_dir_all(&records.networks, DIRECTORY_MODE)?;
        file::create_dir_all(&records.endpoints, DIRECTORY_MODE)?;
        Ok(records)
    }

    /// All networks.
    pub(crate) fn networks(&self) -> Result<Vec<Network>, Error> {
        read_all(&self.networks, earlier::network)
    }

    /// All connected containers.
    pub(crate) fn containers(&self) -> Result<Vec<Record>, Error> {
        read_all(&self.endpoints, earlier::container)
    }

    /// A network is what the user asked for: it survives a crash of the machine.
    pub(crate) fn write_network(&self, network: &Network) -> Result<(), Error> {
        write(&self.networks, &network.id, network, Durability::Machine)
    }

    pub(crate) fn remove_network(&self, id: &Id) -> Result<(), Error> {
        Ok(file::remove(&path(&self.networks, id))?)
    }

    /// A container does not survive a crash of the machine, so its place on a network need not either.
    pub(crate) fn write_container(&self, record: &Record) -> Result<(), Error> {
        write(&self.endpoints, &record.container, record, Durability::Process)
    }

    pub(crate) fn remove_container(&self, id: &Id) -> Result<(), Error> {
        Ok(file::remove(&path(&self.endpoints, id))?)
    }

    /// Notes that this host did not forward packets before us.
    pub(crate) fn write_forwarding(&self, v4: bool, before: &str) -> Result<(), Error> {
        let path = if v4 { &self.forwarding } else { &self.forwarding6 };
        Ok(file::write_atomic(path, before.as_bytes(), FILE_MODE, Durability::Machine)?)
    }

    /// Removes all records.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        Error::collect(
            [&self.networks, &self.endpoints]
                .into_iter()
                .filter_map(|directory| file::remove_tree(directory).err().map(Error::from))
                .collect(),
        )
    }
}

fn path(directory: &Path, id: &Id) -> PathBuf {
    directory.join(format!("{id}.json"))
}

fn write<T: Serialize>(directory: &Path, id: &Id, record: &T, durability: Durability) -> Result<(), Error> {
    let path = path(directory, id);
    let bytes = serde_json::to_vec(record)
        .map_err(|source| Error::Record { path: path.display().to_string(), source })?;
    Ok(file::write_atomic(&path, &bytes, FILE_MODE, durability)?)
}

/// The records of a directory. Other files, such as what a crash left of a write, are no records.
fn read_all<T: for<'a> Deserialize<'a>>(
    directory: &Path,
    renew: impl Fn(Value) -> Value,
) -> Result<Vec<T>, Error> {
    let mut records = Vec::new();
    for name in file::list(directory)? {
        if name.strip_suffix(".json").and_then(Id::parse).is_none() {
            continue;
        }
        let path = directory.join(&name);
        let bytes = file::read(&path)?;
        let record = serde_json::from_slice(&bytes)
            .and_then(|record| serde_json::from_value(renew(record)))
            .map_err(|source| Error::Record { path: path.display().to_string(), source })?;
        records.push(record);
    }
    Ok(records)
}
