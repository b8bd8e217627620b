//! Beside the host's own firewall.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::disallowed_methods, reason = "firewalld is a program")]

mod host;

use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use host::{ask, id, inside, on, on_a_host, output, publish, serve, succeeds, until, v4};
use network::{Config, Networks, NewNetwork, PortRequest, Sandbox};
use sys::dbus::{Answer, Body, Connection, Target};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A container `web` with port 8080 published, and a machine outside that serves port 99.
fn web_and_outside(networks: &Networks) -> (Sandbox, OwnedFd) {
    let web = networks.connect(&id(1), &[on("bridge", "web")], &[publish([0; 4], 8080, 80)]).unwrap();
    serve(&web.netns, 80, "web");
    let outside = host::outside(networks);
    serve(&outside, 99, "outside");
    (web, outside)
}

fn both_ways(web: &Sandbox, outside: &OwnedFd) -> (bool, bool) {
    let there = inside(&web.netns, || ask(ip("203.0.113.2"), 99)).is_some();
    let back = inside(outside, || ask(ip("203.0.113.1"), 8080)).is_some();
    (there, back)
}

#[test]
fn a_policy_that_drops_what_is_forwarded_lets_containers_pass() {
    on_a_host(|host| {
        // As Docker and ufw leave it, before us and after us.
        output("iptables -P FORWARD DROP");
        output("iptables -A FORWARD -d 192.0.2.1 -j REJECT");
        let networks = host.open();
        let (web, outside) = web_and_outside(&networks);
        assert_eq!(both_ways(&web, &outside), (true, true), "{}", output("nft list ruleset"));
        // iptables still reads and writes its table.
        let rules = output("iptables -S FORWARD");
        assert!(rules.contains("-A FORWARD -i ct0") && rules.contains("-A FORWARD -o ct0"), "{rules}");
        assert!(
            rules.find("192.0.2.1").unwrap() < rules.find("-i ct0").unwrap(),
            "the host's rules come first\n{rules}"
        );
        // What the host forbids stays forbidden.
        output("iptables -I FORWARD -s 203.0.113.2 -j DROP");
        assert!(!both_ways(&web, &outside).1);
        output("iptables -D FORWARD -s 203.0.113.2 -j DROP");
        // A reload of the host's firewall.
        output("iptables -F FORWARD");
        until("our rules", || output("iptables -S FORWARD").contains("-i ct0"));
        assert_eq!(both_ways(&web, &outside), (true, true));
        // Another table, another family.
        output("nft add table inet other");
        output("nft add chain inet other forward { type filter hook forward priority 10; policy drop; }");
        until("our rules", || output("nft list chain inet other forward").contains("ct0"));
        assert_eq!(both_ways(&web, &outside), (true, true));
        let new = NewNetwork { name: "front".into(), ..NewNetwork::default() };
        let front = networks.create(new).unwrap().interface;
        assert!(output("iptables -S FORWARD").contains(&front));
        networks.remove("front").unwrap();
        assert!(!output("iptables -S FORWARD").contains(&front));
        output("iptables -P FORWARD ACCEPT");
        until("our rules to go", || !output("iptables -S FORWARD").contains("ct0"));
        networks.shutdown().unwrap();
        assert!(!output("nft list ruleset").contains("ct0"));
    });
}

#[test]
fn the_administrator_s_chain_comes_first_and_stays() {
    on_a_host(|host| {
        let networks = host.open();
        let (web, outside) = web_and_outside(&networks);
        output("nft add rule inet ct_test user ip saddr 203.0.113.2 tcp dport 80 drop");
        assert_eq!(both_ways(&web, &outside), (true, false));
        // Everything else is put back, this is kept.
        output("nft flush chain inet ct_test forward");
        until("the rules", || output("nft list chain inet ct_test forward").contains("jump inbound"));
        assert_eq!(both_ways(&web, &outside), (true, false));
        drop(networks);
        let networks = Networks::open(host.config(0), &[]).unwrap();
        assert!(output("nft list chain inet ct_test user").contains("203.0.113.2"), "also over a restart");
        output("nft flush chain inet ct_test user");
        // An accept there is the last word of this table.
        output("nft add rule inet ct_test user ip saddr 203.0.113.2 accept");
        let web = networks.connect(&id(2), &[on("bridge", "two")], &[]).unwrap();
        serve(&web.netns, 80, "two");
        let two = v4(&web);
        assert!(inside(&outside, || ask(two, 80)).is_some(), "not published, but let in");
        networks.shutdown().unwrap();
    });
}

#[test]
fn published_ports_obey_the_host_s_input_policy_when_told_to() {
    on_a_host(|host| {
        let mut config = host.config(0);
        config.respect_host = true;
        let networks = Networks::open(config, &[]).unwrap();
        let (web, outside) = web_and_outside(&networks);
        let udp = PortRequest { protocol: "udp".into(), ..publish([0; 4], 5353, 53) };
        networks.publish_live(&id(1), &[udp]).unwrap();
        assert_eq!(both_ways(&web, &outside), (true, true), "no policy");
        output("nft add table inet fw");
        output("nft add chain inet fw input { type filter hook input priority 0; policy drop; }");
        output("nft add rule inet fw input iifname lo accept");
        output("nft add rule inet fw input ct state established,related accept");
        assert_eq!(both_ways(&web, &outside), (true, false), "the host lets nobody in");
        assert!(ask(ip("127.0.0.1"), 8080).is_some(), "but itself");
        let neighbour = networks.connect(&id(2), &[on("bridge", "b")], &[]).unwrap();
        assert!(inside(&neighbour.netns, || ask(ip("203.0.113.1"), 8080)).is_some(), "and containers");
        output("nft add rule inet fw input tcp dport 8080 accept");
        assert_eq!(both_ways(&web, &outside), (true, true), "opened");
        networks.shutdown().unwrap();
    });
}

/// firewalld and a bus of its own, in the namespace of the calling thread.
struct Firewalld {
    processes: Vec<Child>,
    bus: PathBuf,
}

impl Firewalld {
    fn start(directory: &Path) -> Self {
        let bus = directory.join("bus");
        let config = directory.join("bus.conf");
        let text = format!(
            "<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
             <policy context='default'><allow send_destination='*' eavesdrop='true'/><allow eavesdrop='true'/>\
             <allow own='*'/></policy></busconfig>",
            bus.display()
        );
        std::fs::write(&config, text).unwrap();
        std::fs::create_dir(directory.join("firewalld")).unwrap();
        let mut firewalld = Self { processes: Vec::new(), bus };
        firewalld.spawn(&[
            "dbus-daemon",
            "--nofork",
            "--nopidfile",
            "--config-file",
            &config.display().to_string(),
        ]);
        until("the bus", || firewalld.bus.exists());
        let own = directory.join("firewalld").display().to_string();
        let log = directory.join("firewalld.log").display().to_string();
        firewalld.spawn(&["firewalld", "--nofork", "--nopid", "--system-config", &own, "--log-file", &log]);
        until("firewalld", || firewalld.ask(".zone", "getZones", "").is_some());
        firewalld
    }

    fn spawn(&mut self, words: &[&str]) {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env("DBUS_SYSTEM_BUS_ADDRESS", format!("unix:path={}", self.bus.display()));
        self.processes.push(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    }

    /// What it answers, unless it refuses. `firewall-cmd` asks the same, and takes a second.
    fn ask(&self, interface: &str, member: &str, argument: &str) -> Option<String> {
        let bus = "org.freedesktop.DBus";
        let hello = Target { destination: bus, path: "/org/freedesktop/DBus", interface: bus };
        let name = "org.fedoraproject.FirewallD1";
        let interface = format!("{name}{interface}");
        let target =
            Target { destination: name, path: "/org/fedoraproject/FirewallD1", interface: &interface };
        let mut connection = Connection::open(&self.bus).unwrap();
        connection.call(hello, "Hello", &Body::default()).unwrap();
        let body = Body::default();
        let body = if argument.is_empty() { body } else { body.text(argument) };
        match connection.call(target, member, &body).unwrap() {
            Answer::Done(body) => Some(body.reader().string().unwrap_or_default()),
            Answer::Refused(..) => None,
        }
    }

    /// Empty when it is in none.
    fn zone_of(&self, bridge: &str) -> String {
        self.ask(".zone", "getZoneOfInterface", bridge).unwrap()
    }
}

impl Drop for Firewalld {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

#[test]
fn firewalld_is_told_of_our_bridges() {
    on_a_host(|host| {
        let directory = tempfile::tempdir().unwrap();
        let firewalld = Firewalld::start(directory.path());
        let mut config = host.config(0);
        // Without being told it lets no bridge pass, not even within.
        {
            let networks =
                Networks::open(Config { bus: "/nonexistent".into(), ..config.clone() }, &[]).unwrap();
            let (web, outside) = web_and_outside(&networks);
            assert!(!both_ways(&web, &outside).0, "it does not need to be told");
            networks.shutdown().unwrap();
            output("ip link delete uplink");
        }
        config.bus.clone_from(&firewalld.bus);
        let networks = Networks::open(config, &[]).unwrap();
        let (web, outside) = web_and_outside(&networks);
        assert_eq!(both_ways(&web, &outside), (true, true), "{}", output("nft list ruleset"));
        assert_eq!(firewalld.zone_of("ct0"), "trusted");
        let neighbour = networks.connect(&id(2), &[on("bridge", "two")], &[]).unwrap();
        assert!(inside(&neighbour.netns, || ask(v4(&web), 80)).is_some(), "within a bridge");
        // A reload forgets what is not in its files.
        firewalld.ask("", "reload", "").unwrap();
        until("the bridge's zone", || firewalld.zone_of("ct0") == "trusted");
        assert_eq!(both_ways(&web, &outside), (true, true));
        let front = networks.create(NewNetwork { name: "front".into(), ..NewNetwork::default() }).unwrap();
        assert_eq!(firewalld.zone_of(&front.interface), "trusted");
        networks.remove("front").unwrap();
        assert_eq!(firewalld.zone_of(&front.interface), "");
        // Containers of a routed network are reached at their own addresses, which takes a policy of the administrator's.
        let mode = ("com.docker.network.bridge.gateway_mode_ipv4".to_owned(), "routed".to_owned());
        let lan = NewNetwork { name: "lan".into(), options: [mode].into(), ..NewNetwork::default() };
        networks.create(lan).unwrap();
        let routed = networks.connect(&id(3), &[on("lan", "r")], &[publish([0; 4], 8081, 80)]).unwrap();
        serve(&routed.netns, 80, "routed");
        serve(&routed.netns, 81, "not published");
        let reached = |port| inside(&outside, || ask(v4(&routed), port)).is_some();
        assert!(!reached(80));
        let obstacles = networks.obstacles(Some("lan"));
        assert!(obstacles.len() == 1 && obstacles[0].contains("--add-egress-zone trusted"), "{obstacles:?}");
        assert_eq!(networks.obstacles(Some("bridge")), [""; 0]);
        // As the commands that are named there write it.
        let policies = directory.path().join("firewalld/policies");
        std::fs::create_dir_all(&policies).unwrap();
        let policy =
            "<policy target='ACCEPT'><ingress-zone name='ANY'/><egress-zone name='trusted'/></policy>";
        std::fs::write(policies.join("corten-forwarding.xml"), policy).unwrap();
        firewalld.ask("", "reload", "").unwrap();
        until("the way to be open", || firewalld.zone_of("ct0") == "trusted" && reached(80));
        assert!(!reached(81), "ours still say what is published");
        assert_eq!(networks.obstacles(None), [""; 0]);
        networks.shutdown().unwrap();
        assert_eq!(firewalld.zone_of("ct0"), "");
    });
}

#[test]
fn iptables_legacy_does_not_disturb() {
    on_a_host(|host| {
        let networks = host.open();
        assert_eq!(networks.obstacles(None), [""; 0]);
        assert_eq!(output("cat /proc/net/ip_tables_names"), "", "looking makes no table");
        output("iptables-legacy -P FORWARD ACCEPT");
        let (web, outside) = web_and_outside(&networks);
        assert!(succeeds("iptables-legacy -t nat -A POSTROUTING -o nosuch -j MASQUERADE"));
        assert_eq!(both_ways(&web, &outside), (true, true));
        assert_eq!(networks.obstacles(None), [""; 0]);
        // Its tables are its own: what there is to do is said.
        output("iptables-legacy -P FORWARD DROP");
        output("iptables-legacy -A FORWARD -i ct0 -p tcp -j ACCEPT");
        output("iptables-legacy -A FORWARD -i other+ -j ACCEPT");
        assert_eq!(both_ways(&web, &outside), (false, false));
        let obstacles = networks.obstacles(None);
        let (_, rules) = obstacles[0].rsplit_once(": ").unwrap();
        for rule in rules.split("; ") {
            assert!(succeeds(rule), "{rule}");
        }
        assert_eq!(both_ways(&web, &outside), (true, true));
        assert_eq!(networks.obstacles(None), [""; 0]);
        // Another network needs others; an internal one none.
        let new = |name: &str| NewNetwork { name: name.into(), ..NewNetwork::default() };
        let front = networks.create(new("front")).unwrap();
        networks.create(NewNetwork { internal: true, ..new("closed") }).unwrap();
        let obstacles = networks.obstacles(None);
        assert!(obstacles.len() == 1 && obstacles[0].contains(&format!("-o {} ", front.interface)));
        assert_eq!(networks.obstacles(Some("bridge")), [""; 0]);
        let text = output("ip6tables-legacy -P FORWARD DROP");
        assert_eq!((text.as_str(), networks.obstacles(None).len()), ("", 1), "no network has IPv6");
        networks.shutdown().unwrap();
    });
}
