//! Network devices of the host that move into a container.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use spec::oci::runtime::NetDevice;
use sys::netlink::route::{self, Address, Batch};
use sys::netlink::{Family, Socket};

use crate::Failure;
use crate::failure::at_path;

/// Moves them into the network namespace of `pid`, with their IPv4 addresses; what was up is up there.
pub(crate) fn move_all(devices: &BTreeMap<String, NetDevice>, pid: i32) -> Result<(), Failure> {
    if devices.is_empty() {
        return Ok(());
    }
    let failed = at_path("netDevices", "");
    let mut socket = Socket::open(Family::Route).map_err(&failed)?;
    let netns = sys::netns::of_process(pid).map_err(&failed)?;
    for (from, device) in devices {
        let failed = at_path("netDevices", from);
        let to = if device.name.is_empty() { from } else { &device.name };
        let link = route::link(&mut socket, from).map_err(&failed)?;
        let link = link.ok_or_else(|| Failure::new("netDevices", from, "there is no such device"))?;
        let mut addresses = route::addresses(&mut socket).map_err(&failed)?;
        addresses.retain(|address| address.index == link.index);
        let mut batch = Batch::new();
        batch.move_to(link.index, to, netns.as_fd());
        batch.send(&mut socket).map_err(&failed)?;
        settle(&netns, to, link.up, &addresses).map_err(&failed)?;
    }
    Ok(())
}

/// Gives a device in its new namespace what the move has taken from it.
fn settle(netns: &OwnedFd, name: &str, up: bool, addresses: &[Address]) -> Result<(), sys::Error> {
    let home = sys::netns::current()?;
    sys::netns::enter(netns)?;
    let socket = Socket::open(Family::Route);
    sys::netns::enter(&home)?;
    let mut socket = socket?;
    let Some(link) = route::link(&mut socket, name)? else { return Ok(()) };
    let mut batch = Batch::new();
    addresses.iter().for_each(|address| batch.address(Address { index: link.index, ..*address }));
    if up {
        batch.up(name);
    }
    batch.send(&mut socket)
}
