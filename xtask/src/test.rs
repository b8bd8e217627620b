//! All tests, and what they need.

use std::path::Path;
use std::process::Command;

use crate::{Outcome, cargo, clients, run};

/// Debian's package, and a file that shows it is there.
const NEEDS: &[(&str, &str)] = &[
    ("busybox-static", "/bin/busybox"),
    ("debootstrap", "/usr/sbin/debootstrap"),
    ("docker-registry", "/usr/bin/docker-registry"),
    ("docker.io", "/usr/sbin/dockerd"),
    ("nftables", "/usr/sbin/nft"),
    ("iptables", "/usr/sbin/iptables"),
    ("firewalld", "/usr/sbin/firewalld"),
    ("dbus-daemon", "/usr/bin/dbus-daemon"),
    ("iproute2", "/usr/bin/ip"),
    ("apache2-utils", "/usr/bin/htpasswd"),
    ("tmux", "/usr/bin/tmux"),
    ("curl", "/usr/bin/curl"),
    ("runc", "/usr/sbin/runc"),
    ("crun", "/usr/bin/crun"),
    ("containerd", "/usr/bin/containerd"),
    ("podman", "/usr/bin/podman"),
    ("conmon", "/usr/bin/conmon"),
    ("acl", "/usr/bin/setfacl"),
    ("attr", "/usr/bin/getfattr"),
    ("quota", "/usr/sbin/repquota"),
    ("btrfs-progs", "/usr/sbin/mkfs.btrfs"),
    ("xfsprogs", "/usr/sbin/mkfs.xfs"),
    ("skopeo", "/usr/bin/skopeo"),
    ("openssl", "/usr/bin/openssl"),
    ("openssh-client", "/usr/bin/ssh-agent"),
    ("qemu-user-static", "/usr/bin/qemu-aarch64-static"),
    ("git", "/usr/bin/git"),
    ("kmod", "/usr/sbin/modprobe"),
    ("procps", "/usr/bin/ps"),
    ("bzip2", "/usr/bin/bzip2"),
    ("xz-utils", "/usr/bin/xz"),
];

/// Installs what is missing, builds the binaries, runs every test of the workspace.
pub(crate) fn test(arguments: &[String]) -> Outcome {
    install(NEEDS)?;
    clients::clients()?;
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    let mut command = cargo(&["test", "--workspace", "--locked", "--no-fail-fast"]);
    command.args(arguments);
    run(&mut command)
}

/// Installs the packages whose files are missing.
pub(crate) fn install(needs: &[(&str, &str)]) -> Outcome {
    let missing: Vec<&str> =
        needs.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(p, _)| *p).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-qq").args(arguments);
        run(&mut command)
    };
    apt(&["update"])?;
    apt(&[&["install", "-y", "--no-install-recommends"], missing.as_slice()].concat())
        .map_err(|e| format!("{e}\nthe tests need root and Debian's packages {}", missing.join(" ")))
}
