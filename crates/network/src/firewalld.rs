//! firewalld, where it runs: it rejects what is forwarded through interfaces that are in none of its zones, packets between
//! containers of one bridge included. So bridges are put into a zone that accepts: our table decides about them.
//!
//! Only what runs is changed, not firewalld's files: a reload forgets it, is seen by the [watch](crate::watch), and it is
//! done again. A bridge that the administrator has put into a zone stays there.

use std::path::PathBuf;

use sys::dbus::{Answer, Body, Connection, Target};

const BUS: Target<'static> = Target {
    destination: "org.freedesktop.DBus",
    path: "/org/freedesktop/DBus",
    interface: "org.freedesktop.DBus",
};
const FIREWALLD: &str = "org.fedoraproject.FirewallD1";
const ZONES: Target<'static> = Target {
    destination: FIREWALLD,
    path: "/org/fedoraproject/FirewallD1",
    interface: "org.fedoraproject.FirewallD1.zone",
};

const POLICIES: Target<'static> = Target { interface: "org.fedoraproject.FirewallD1.policy", ..ZONES };

/// A policy of its administrator's that lets what comes from other zones pass to ours, and the one that Docker makes. Only
/// its files can have a new one, so it is not ours to make.
const FORWARDING: [&str; 2] = ["corten-forwarding", "docker-forwarding"];

/// Zones for our bridges, of which the first that there is: one that the administrator has made for us; Docker's, which it
/// makes for the same; the one that accepts which firewalld always has.
const ACCEPTING: [&str; 3] = ["corten", "docker", "trusted"];

/// How it is reached.
#[derive(Debug)]
pub(crate) struct Firewalld {
    /// The system bus.
    bus: PathBuf,
}

/// A conversation with it.
struct Zones {
    connection: Connection,
    /// The one for our bridges.
    own: &'static str,
}

impl Firewalld {
    pub(crate) fn new(bus: PathBuf) -> Self {
        Self { bus }
    }

    /// Puts bridges that are in no zone into ours.
    pub(crate) fn allow(&self, bridges: &[String]) -> sys::Result<()> {
        let Some(mut zones) = self.zones()? else { return Ok(()) };
        for bridge in bridges {
            if zones.of(bridge)?.is_empty() {
                zones.ask("addInterface", &[zones.own, bridge])?;
            }
        }
        Ok(())
    }

    /// Takes bridges that are no more out of our zone.
    pub(crate) fn forget(&self, bridges: &[String]) -> sys::Result<()> {
        let Some(mut zones) = self.zones()? else { return Ok(()) };
        for bridge in bridges {
            if zones.of(bridge)? == zones.own {
                zones.ask("removeInterface", &[zones.own, bridge])?;
            }
        }
        Ok(())
    }

    /// The zone of our bridges, if what comes from other zones is rejected there: all but answers and what is led to another
    /// address.
    pub(crate) fn rejecting(&self) -> sys::Result<Option<&'static str>> {
        let Some(mut zones) = self.zones()? else { return Ok(None) };
        let policies = list(&mut zones.connection, POLICIES, "getPolicies")?;
        let passes = policies.iter().any(|known| FORWARDING.contains(&known.as_str()));
        Ok(Some(zones.own).filter(|_| !passes))
    }

    /// `None` where it does not run.
    fn zones(&self) -> sys::Result<Option<Zones>> {
        if !self.bus.exists() {
            return Ok(None);
        }
        let mut connection = Connection::open(&self.bus)?;
        connection.call(BUS, "Hello", &Body::default())?;
        // Who calls a service that does not run has it started.
        let runs = match connection.call(BUS, "NameHasOwner", &Body::default().text(FIREWALLD))? {
            Answer::Done(body) => body.reader().number() == Some(1),
            Answer::Refused(..) => false,
        };
        if !runs {
            return Ok(None);
        }
        let all = list(&mut connection, ZONES, "getZones")?;
        let own = ACCEPTING.into_iter().find(|zone| all.iter().any(|known| known == zone));
        Ok(own.map(|own| Zones { connection, own }))
    }
}

/// Names that it lists.
fn list(connection: &mut Connection, target: Target<'_>, member: &str) -> sys::Result<Vec<String>> {
    let Answer::Done(body) = connection.call(target, member, &Body::default())? else {
        return Ok(Vec::new());
    };
    let mut reader = body.reader();
    // The array's length, then its texts to the end.
    reader.number();
    Ok(std::iter::from_fn(|| reader.string()).collect())
}

impl Zones {
    /// The zone of an interface; empty when it is in none.
    fn of(&mut self, interface: &str) -> sys::Result<String> {
        self.ask("getZoneOfInterface", &[interface])
    }

    /// What it refuses is its administrator's will: that is an empty answer.
    fn ask(&mut self, member: &str, words: &[&str]) -> sys::Result<String> {
        let body = words.iter().fold(Body::default(), |body, word| body.text(word));
        Ok(match self.connection.call(ZONES, member, &body)? {
            Answer::Done(body) => body.reader().string().unwrap_or_default(),
            Answer::Refused(..) => String::new(),
        })
    }
}
