//! A host of its own for each test: a network namespace with only loopback, entered by the test's thread and by
//! every thread it starts from there.

#![allow(dead_code, reason = "each test file uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
#![expect(clippy::disallowed_methods, reason = "nft and ip show what is really in the kernel")]

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::time::{Duration, Instant};

use network::{Config, EndpointRequest, Networks, NewNetwork, PortRequest, Range, Subnet};
use spec::Id;
use sys::netlink::route::Batch;
use sys::netlink::{Family, Socket};

/// Runs a test on a fresh host.
pub(crate) fn on_a_host(test: impl FnOnce(&Host) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let netns = sys::netns::enter_new().expect("these tests need root: they make network namespaces");
            drop(netns);
            // New namespaces inherit this from the machine.
            sys::sysctl::set("net/ipv4/ip_forward", "0").unwrap();
            let mut batch = Batch::new();
            batch.up("lo");
            batch.send(&mut Socket::open(Family::Route).unwrap()).unwrap();
            test(&Host { state: tempfile::tempdir().unwrap() });
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) struct Host {
    pub(crate) state: tempfile::TempDir,
}

impl Host {
    pub(crate) fn config(&self, ready: usize) -> Config {
        Config {
            state: self.state.path().to_owned(),
            run: self.state.path().to_owned(),
            bridge: "ct0".into(),
            table: "ct_test".into(),
            ready,
            ..Config::default()
        }
    }

    pub(crate) fn open(&self) -> Networks {
        Networks::open(self.config(0), &[]).unwrap()
    }
}

pub(crate) fn id(n: u8) -> Id {
    Id::from_bytes([n; 32])
}

pub(crate) fn on(network: &str, name: &str) -> EndpointRequest {
    EndpointRequest {
        network: network.into(),
        names: vec![name.into()],
        container_name: name.into(),
        ..EndpointRequest::default()
    }
}

pub(crate) fn publish(ip: [u8; 4], host: u16, container: u16) -> PortRequest {
    PortRequest {
        container_port: container,
        protocol: "tcp".into(),
        host_ip: Some(ip.into()),
        host_ports: (host, host),
    }
}

/// An endpoint's IPv4 address.
pub(crate) fn v4(sandbox: &network::Sandbox) -> IpAddr {
    sandbox.endpoints[0].v4.unwrap().ip
}

/// Its gateway.
pub(crate) fn gateway(sandbox: &network::Sandbox) -> IpAddr {
    sandbox.endpoints[0].v4.unwrap().gateway.unwrap()
}

/// Its IPv6 address.
pub(crate) fn v6(sandbox: &network::Sandbox) -> IpAddr {
    sandbox.endpoints[0].v6.unwrap().ip
}

/// A program's output; it must succeed.
pub(crate) fn output(words: &str) -> String {
    let mut words = words.split_whitespace();
    let out = Command::new(words.next().unwrap()).args(words).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn json(words: &str) -> serde_json::Value {
    let text = output(words);
    serde_json::from_str(if text.trim().is_empty() { "[]" } else { &text }).unwrap()
}

/// Whether a program succeeds.
pub(crate) fn succeeds(words: &str) -> bool {
    let mut words = words.split_whitespace();
    Command::new(words.next().unwrap()).args(words).output().unwrap().status.success()
}

/// Runs `work` in a namespace.
pub(crate) fn inside<T: Send>(netns: impl AsFd + Sync, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                sys::netns::enter(&netns).unwrap();
                work()
            })
            .join()
            .unwrap()
    })
}

/// A process that lives in a namespace until dropped: what a running container is to this room.
pub(crate) struct Process(std::process::Child);

impl Process {
    pub(crate) fn start(netns: impl AsFd + Sync) -> Self {
        inside(netns, || Self(Command::new("/bin/busybox").args(["sleep", "1000"]).spawn().unwrap()))
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A server in a namespace that says who asks, and then its name.
pub(crate) fn serve(netns: impl AsFd + Sync, port: u16, name: &'static str) {
    // For both families, where there are two.
    let bind = || {
        TcpListener::bind(format!("[::]:{port}")).or_else(|_| TcpListener::bind(format!("0.0.0.0:{port}")))
    };
    let listener = inside(netns, || bind().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut stream, from)) = listener.accept() {
            use std::io::Write;
            let _ = write!(stream, "{} {name}", from.ip().to_canonical());
        }
    });
}

/// What the server there says; `None` when there is no way to it.
pub(crate) fn ask(ip: impl Into<IpAddr>, port: u16) -> Option<String> {
    use std::io::Read;
    let address = SocketAddr::new(ip.into(), port);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(700)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    // A relay that finds nobody has let the client in, and says nothing.
    Some(said).filter(|said| !said.is_empty())
}

/// Waits for a level, with a bound.
pub(crate) fn until(what: &str, mut level: impl FnMut() -> bool) {
    let start = Instant::now();
    while !level() {
        assert!(start.elapsed() < Duration::from_secs(10), "waited in vain for: {what}");
        std::thread::yield_now();
    }
}

/// The addresses that a query to 127.0.0.11 gives; the code when it is refused.
pub(crate) fn look_up(name: &str) -> Result<Vec<IpAddr>, String> {
    query(name, simple_dns::TYPE::A)
}

/// The same, of a type.
pub(crate) fn query(name: &str, kind: simple_dns::TYPE) -> Result<Vec<IpAddr>, String> {
    use simple_dns::{CLASS, Name, Packet, PacketFlag, Question, RCODE, rdata::RData};
    let mut query = Packet::new_query(4711);
    query.set_flags(PacketFlag::RECURSION_DESIRED);
    let name = Name::new_unchecked(name);
    query.questions.push(Question::new(name, kind.into(), CLASS::IN.into(), false));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(6))).unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.send(&query.build_bytes_vec().unwrap()).unwrap();
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).map_err(|e| e.to_string())?;
    let reply = Packet::parse(&buffer[..length]).unwrap();
    assert_eq!(reply.id(), 4711);
    if reply.rcode() != RCODE::NoError {
        return Err(format!("{:?}", reply.rcode()));
    }
    let address = |r: &simple_dns::ResourceRecord<'_>| match &r.rdata {
        RData::A(a) => Some(IpAddr::V4(a.address.into())),
        RData::AAAA(a) => Some(IpAddr::V6(a.address.into())),
        _ => None,
    };
    Ok(reply.answers.iter().filter_map(address).collect())
}

/// A neighbour of the host: 203.0.113.2 and 2001:db8:1::2, with the host (…1) as its router.
pub(crate) fn outside(networks: &Networks) -> std::os::fd::OwnedFd {
    let lonely = networks.connect(&id(99), &[], &[]).unwrap();
    let mut batch = Batch::new();
    let peer = sys::netlink::route::Peer {
        name: "eth0",
        mac: [2, 0, 0, 0, 0, 9],
        netns: std::os::fd::AsFd::as_fd(&lonely.netns),
    };
    batch.create_veth("uplink", 1500, peer);
    batch.send(&mut Socket::open(Family::Route).unwrap()).unwrap();
    output("ip address add 203.0.113.1/24 dev uplink");
    output("ip address add 2001:db8:1::1/64 dev uplink nodad");
    output("ip link set uplink up");
    inside(&lonely.netns, || {
        sys::sysctl::set("net/ipv6/conf/eth0/disable_ipv6", "0").unwrap();
        output("ip address add 203.0.113.2/24 dev eth0");
        output("ip address add 2001:db8:1::2/64 dev eth0 nodad");
        output("ip link set eth0 up");
        output("ip route add default via 203.0.113.1");
        output("ip -6 route add default via 2001:db8:1::1");
    });
    until("the uplink", || inside(&lonely.netns, || succeeds("/bin/busybox ping -c1 -W1 203.0.113.1")));
    lonely.netns
}

/// A network to make.
pub(crate) fn new(name: &str, driver: &str, options: &[(&str, &str)]) -> NewNetwork {
    let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    NewNetwork { name: name.into(), driver: driver.into(), options, ..NewNetwork::default() }
}

/// A whole subnet.
pub(crate) fn range(subnet: &str) -> Range {
    Range { subnet: Subnet::parse(subnet).unwrap(), range: None, gateway: None, reserved: Default::default() }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}
