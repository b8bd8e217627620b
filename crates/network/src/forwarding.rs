//! Forwarding in the kernel, without which bridges lead nowhere.

use sys::netlink::Socket;
use sys::netlink::route;
use sys::sysctl;

use crate::Error;
use crate::record::Records;

/// Turns it on for a family. What it was before is recorded.
pub(crate) fn turn_on(socket: &mut Socket, records: &Records, v4: bool) -> Result<(), Error> {
    let parameter = if v4 { "net/ipv4/ip_forward" } else { "net/ipv6/conf/all/forwarding" };
    let before = sysctl::get(parameter)?;
    if before == "1" {
        return Ok(());
    }
    records.write_forwarding(v4, &before)?;
    if !v4 {
        keep_advertised_routes(socket)?;
    }
    Ok(sysctl::set(parameter, "1")?)
}

/// A router does not listen to others' advertisements unless it is told to: a host that has its own default route from
/// one would lose it.
fn keep_advertised_routes(socket: &mut Socket) -> Result<(), Error> {
    let links = route::links(socket)?;
    let names = links.iter().map(|link| link.name.as_str()).chain(["default"]);
    for name in names {
        let parameter = format!("net/ipv6/conf/{name}/accept_ra");
        // A link may be gone meanwhile, or have no IPv6.
        if sysctl::get(&parameter).is_ok_and(|value| value == "1") {
            sysctl::set(&parameter, "2")?;
        }
    }
    Ok(())
}
