//! Publishing sctp, on kernels with and without its sockets: packets are made by hand.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod host;

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::time::Duration;

use host::{id, inside, on, on_a_host, output, publish};
use network::PortRequest;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, recv, sendto, socket_with, sockopt,
};

/// A socket that sends and receives whole sctp packets.
fn raw() -> OwnedFd {
    let socket =
        socket_with(AddressFamily::INET, SocketType::RAW, SocketFlags::CLOEXEC, Some(ipproto::SCTP)).unwrap();
    let patience = Some(Duration::from_secs(5));
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, patience).unwrap();
    socket
}

/// CRC32c (RFC 9260, appendix A).
fn checksum(bytes: &[u8]) -> u32 {
    let shift = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc)))
}

/// The first packet of an association: INIT.
fn init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend_from_slice(&from.to_be_bytes());
    packet.extend_from_slice(&to.to_be_bytes());
    // Tag and checksum; INIT, its length, its own tag, window, streams out and in, first number.
    packet.extend_from_slice(&[0; 8]);
    packet.extend_from_slice(&[1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = checksum(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&sum);
    packet
}

#[test]
fn an_association_is_led_to_its_container() {
    on_a_host(|host| {
        output("ip address add 198.51.100.7/24 dev lo");
        let networks = host.open();
        let port = PortRequest { protocol: "sctp".into(), ..publish([0; 4], 9000, 80) };
        let web = networks.connect(&id(1), &[on("bridge", "web")], std::slice::from_ref(&port)).unwrap();
        let refused = networks.connect(&id(2), &[on("bridge", "late")], &[port]).unwrap_err().to_string();
        assert_eq!(refused, "Bind for 0.0.0.0:9000 failed: port is already allocated (by container web)");
        let free = PortRequest { protocol: "sctp".into(), ..publish([0; 4], 0, 81) };
        assert_ne!(networks.publish_live(&id(1), &[free]).unwrap()[0].host_port, 0);
        let server = inside(&web.netns, raw);
        let client = raw();
        for to in [Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::LOCALHOST] {
            let packet = init(40000, 9000);
            sendto(&client, &packet, SendFlags::empty(), &SocketAddrV4::new(to, 0)).unwrap();
            let mut buffer = [0; 256];
            let (length, _) = recv(&server, &mut buffer[..], RecvFlags::empty()).unwrap();
            // Behind the IP header.
            let (ip, sctp) = buffer[..length].split_at(20);
            assert_eq!(IpAddr::from(<[u8; 4]>::try_from(&ip[16..20]).unwrap()), host::v4(&web), "{to}");
            assert_eq!(sctp[2..4], 80u16.to_be_bytes(), "{to}");
            assert_eq!(sctp[12..], packet[12..], "{to}");
        }
        networks.shutdown().unwrap();
    });
}
