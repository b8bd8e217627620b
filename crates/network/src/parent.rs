//! The interface of the host that macvlan and ipvlan links are made on.

use spec::Id;
use sys::netlink::Socket;
use sys::netlink::route::{self, Batch};

use crate::{Error, Network, bridge};

/// The largest number of a VLAN (IEEE 802.1Q).
const VLANS: u16 = 4094;

/// What a network's parent is called when its user names none: an interface that leads nowhere.
pub(crate) fn name_of(id: &Id, driver: crate::Driver) -> String {
    let kind = if driver == crate::Driver::Macvlan { "dm" } else { "di" };
    format!("{kind}-{}", id.short())
}

/// Whether the interface is there already: then it is the host's, and stays.
pub(crate) fn is_there(socket: &mut Socket, name: &str) -> Result<bool, Error> {
    Ok(route::link(socket, name)?.is_some())
}

/// What can be refused of a parent that the user names.
pub(crate) fn check(name: &str, driver: crate::Driver) -> Result<(), Error> {
    if name == "lo" {
        return Err(Error::Invalid(format!(
            "loopback interface is not a valid {} parent link",
            driver.name()
        )));
    }
    bridge::check_name("parent", name)
}

/// Makes the interface if it is missing and can be made: one that leads nowhere, or a VLAN (`eth0.10`). Brings it up.
pub(crate) fn ensure(socket: &mut Socket, network: &Network) -> Result<(), Error> {
    let name = network.interface.as_str();
    if !is_there(socket, name)? {
        let mut batch = Batch::new();
        match network.options().parent {
            None => batch.create_dummy(name),
            Some(_) => {
                let (master, id) = vlan(name)?;
                let index = route::link(socket, master)?.map(|link| link.index).ok_or_else(|| {
                    Error::Invalid(format!(
                        "failed to find master interface {master} on the Docker host: Link not found"
                    ))
                })?;
                batch.create_vlan(name, index, id);
            }
        }
        batch.send(socket)?;
    }
    let mut batch = Batch::new();
    batch.up(name);
    Ok(batch.send(socket)?)
}

/// Reads `eth0.10`.
fn vlan(name: &str) -> Result<(&str, u16), Error> {
    let parts = name.rsplit_once('.').and_then(|(master, id)| Some((master, id.parse::<u16>().ok()?)));
    let (master, id) = parts.filter(|(master, _)| !master.is_empty()).ok_or_else(|| {
        Error::Invalid(format!("invalid subinterface vlan name {name}, example formatting is eth0.10"))
    })?;
    if !(1..=VLANS).contains(&id) {
        return Err(Error::Invalid(format!("vlan id must be between 1-4094, received: {id}")));
    }
    Ok((master, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vlans_are_read() {
        assert_eq!(vlan("eth0.10").unwrap(), ("eth0", 10));
        assert_eq!(vlan("bond0.7.4094").unwrap(), ("bond0.7", 4094));
        for bad in ["eth0", "eth0.", ".7", "eth0.x", "eth0.0", "eth0.4095"] {
            assert!(vlan(bad).is_err(), "{bad}");
        }
    }
}
