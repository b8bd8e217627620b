//! The runtime's and the end-to-end tests on a pure cgroup v2 host with AppArmor: Debian's cloud kernel (6.1) with an
//! initramfs of ours, under qemu's software emulation. No disk, no network: what the tests use is copied into it. It is
//! booted twice: with a script as its first process, and with systemd.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::{Outcome, cargo, root, run, test};

/// Debian's packages that the machine itself needs, with a file that shows each is there.
const NEEDS: [(&str, &str); 7] = [
    ("qemu-system-x86", "/usr/bin/qemu-system-x86_64"),
    ("cpio", "/usr/bin/cpio"),
    ("kmod", "/usr/sbin/depmod"),
    ("binutils", "/usr/bin/strip"),
    ("systemd", SYSTEMD),
    ("runc", "/usr/sbin/runc"),
    ("crun", "/usr/bin/crun"),
];

/// Programs that the tests start, beside busybox's.
const PROGRAMS: &[&str] = &[
    "nsenter",
    "unshare",
    "setpriv",
    "ip",
    "nft",
    "tar",
    "tmux",
    "docker",
    "modprobe",
    "dash",
    "grep",
    "curl",
    "cp",
    "mount",
    "script",
    "runc",
    "crun",
    "systemctl",
    "mkfs.ext4",
    "repquota",
];

/// Modules loaded at boot; the others come by themselves when they are asked for.
const MODULES: &str =
    "overlay veth bridge nf_tables nft_chain_nat nft_masq nft_ct nft_fib_ipv4 dummy loop ext4 quota_v2";

/// Test binaries that run there unless others are named: what the kernel's cgroups, security modules, links,
/// quotas and file systems decide.
const TESTS: [&str; 9] =
    [RUNTIME, "isolation", "sandbox", "stats", "runtimes", "quota", "userns", "volume_servers", NETWORK];
/// The same where systemd is the first process.
const TESTS_OF_SYSTEMD: [&str; 1] = ["cgroup_driver"];
const SYSTEMD: &str = "/lib/systemd/systemd";
/// Left out: races of a hundred containers each, which emulation makes minutes long and other cgroups no different.
const SKIPPED: &str = "--skip=_changes_ --skip=descriptor_is_a_working_directory --skip=be_looked_into";
/// The runtime's own, and the network's, of drivers that not every kernel has; all others are in `e2e/tests`.
const RUNTIME: &str = "container";
const NETWORK: &str = "stacked";

/// Installs what the machine itself needs.
pub(crate) fn install() -> Outcome {
    test::install(&NEEDS)
}

/// Builds the machine and runs the named tests in it.
pub(crate) fn vm(names: &[String]) -> Outcome {
    install()?;
    let named = |all: &[&'static str]| -> Vec<&str> {
        if names.is_empty() {
            return all.to_vec();
        }
        let of_systemd = all == TESTS_OF_SYSTEMD;
        let names = names.iter().map(String::as_str);
        names.filter(|name| TESTS_OF_SYSTEMD.contains(name) == of_systemd).collect()
    };
    let boots = [("script", named(&TESTS)), ("systemd", named(&TESTS_OF_SYSTEMD))];
    let names: Vec<&str> = boots.iter().flat_map(|(_, names)| names.clone()).collect();
    let home = root().join("target/vm");
    let tree = home.join("root");
    sh(&format!("rm -rf {0} && mkdir -p {0}", tree.display()))?;
    let kernel = kernel(&home, &tree)?;
    apparmor(&home, &tree)?;
    samba(&home, &tree)?;
    fill(&tree, &names)?;
    let initramfs = home.join("initramfs");
    sh(&format!("cd {} && find . | cpio -o -H newc --quiet > {}", tree.display(), initramfs.display()))?;
    for (first, names) in boots.iter().filter(|(_, names)| !names.is_empty()) {
        boot(&kernel, &initramfs, first, names)?;
    }
    Ok(())
}

/// Debian's kernel image, unpacked; its modules go into the tree.
fn kernel(home: &Path, tree: &Path) -> Result<PathBuf, String> {
    let unpacked = home.join("kernel");
    if !unpacked.join("boot").exists() {
        let package = "$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: //p' | head -1)";
        sh(&format!(
            "apt-get -qq update; cd {} && apt-get -qq download {package} && dpkg-deb -x linux-image-*.deb kernel",
            home.display()
        ))?;
    }
    // Of the modules those that the tests can need: the less there is, the sooner it has booted.
    sh(&format!(
        "v=$(ls {1}/lib/modules); to={0}/lib/modules/$v; mkdir -p $to; cd {1}/lib/modules/$v; cp modules.order modules.builtin* $to/; cp --parents -r kernel/net kernel/lib kernel/crypto kernel/arch kernel/fs/overlayfs kernel/fs/quota kernel/fs/nfs kernel/fs/nfsd kernel/fs/nfs_common kernel/fs/lockd kernel/fs/fscache kernel/fs/netfs kernel/fs/smb kernel/fs/nls kernel/drivers/block/loop.ko kernel/drivers/net/*.ko kernel/drivers/net/ipvlan $to/; depmod -b {0} $v",
        tree.display(),
        unpacked.display()
    ))?;
    let boot = std::fs::read_dir(unpacked.join("boot")).map_err(|e| e.to_string())?;
    let image = boot.flatten().map(|e| e.path()).find(|p| p.to_string_lossy().contains("vmlinuz"));
    image.ok_or_else(|| "the kernel package has no vmlinuz".to_owned())
}

/// The program that loads AppArmor's profiles, and what profiles include. Not installed here: on this machine the engine
/// would take it for a sign that it can confine.
fn apparmor(home: &Path, tree: &Path) -> Outcome {
    let unpacked = home.join("apparmor");
    if !unpacked.join("etc").exists() {
        sh(&format!(
            "cd {} && apt-get -qq download apparmor && dpkg-deb -x apparmor_*.deb apparmor",
            home.display()
        ))?;
    }
    sh(&format!(
        "mkdir -p {0}/bin {0}/sbin {0}/etc {0}/usr/share && cp -r {1}/usr/share/apparmor-features {0}/usr/share/ && cp $(find {1} -name apparmor_parser -type f) {0}/bin/ && ln -s ../bin/apparmor_parser {0}/sbin/ && cp -r {1}/etc/apparmor {1}/etc/apparmor.d {0}/etc/",
        tree.display(),
        unpacked.display()
    ))
}

/// Packages with a server of SMB shares, and its libraries that are not everywhere.
const SAMBA: &str = "samba samba-libs libldb2 libtevent0 libtalloc2 libtdb1 libwbclient0 libcups2 libavahi-client3 \
     libavahi-common3 libicu72 libjansson4 libldap-2.5-0 libsasl2-2 libpopt0 libtirpc3 libbsd0 libmd0 libgnutls30 libtasn1-6 libp11-kit0 libidn2-0 libpam0g libkeyutils1 libdbus-1-3";

/// smbd. Not installed here: it would be started.
fn samba(home: &Path, tree: &Path) -> Outcome {
    let unpacked = home.join("samba");
    if !unpacked.join("usr").exists() {
        sh(&format!(
            "mkdir -p {0} && cd {0} && apt-get -qq download {SAMBA} && for p in *.deb; do dpkg-deb -x $p new; done && mv new/* . && rm *.deb",
            unpacked.display()
        ))?;
    }
    sh(&format!(
        "cp {1}/usr/sbin/smbd {0}/bin/; l={1}/usr/lib/x86_64-linux-gnu; needs=$(LD_LIBRARY_PATH=$l:$l/samba ldd {0}/bin/smbd); case $needs in *'not found'*) echo \"$needs\" >&2; exit 1;; esac; for f in $(echo \"$needs\" | grep -o '/[^ ]*'); do to={0}${{f#{1}}}; mkdir -p $(dirname $to); cp -L $f $to; done",
        tree.display(),
        unpacked.display()
    ))
}

/// Everything that runs in the machine: busybox, programs with their libraries, our binaries, the tests, /init.
fn fill(tree: &Path, names: &[&str]) -> Outcome {
    let to = tree.display();
    sh(&format!(
        "mkdir -p {to}/bin {to}/sbin {to}/etc {to}/proc {to}/sys {to}/dev {to}/tmp {to}/run {to}/root {to}/t/deps {to}/usr/share {to}/lib/terminfo && ln -s ../bin {to}/usr/bin && ln -s ../sbin {to}/usr/sbin && cp /bin/busybox {to}/bin/ && for a in $(/bin/busybox --list); do [ -e {to}/bin/$a ] || ln -s busybox {to}/bin/$a; done; cp -r /lib/terminfo/. {to}/lib/terminfo/"
    ))?;
    for program in PROGRAMS {
        sh(&format!(
            "p=$(command -v {program} || command -v /usr/sbin/{program} || command -v /usr/local/bin/{program}) && rm -f {to}/bin/{program} && cp -L $p {to}/bin/{program}"
        ))?;
    }
    sh(&format!(
        "ln -sf dash {to}/bin/sh; ln -sf ../bin/modprobe {to}/sbin/modprobe; echo root:x:0:0:root:/root:/bin/sh > {to}/etc/passwd; echo root:x:0: > {to}/etc/group; echo nameserver 198.51.100.2 > {to}/etc/resolv.conf; echo 127.0.0.1 localhost > {to}/etc/hosts"
    ))?;
    run(&mut cargo(&["build", "--workspace", "--bins", "--locked"]))?;
    for name in ["corten", "cortend", "corten-shim"] {
        sh(&format!("cp {}/target/debug/{name} {to}/t/ && strip {to}/t/{name}", root().display()))?;
    }
    for name in names {
        let built = cargo(&[
            "test",
            "-p",
            package(name),
            "--test",
            name,
            "--no-run",
            "--locked",
            "--message-format=json",
        ])
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| e.to_string())?;
        let messages = String::from_utf8_lossy(&built.stdout).into_owned();
        let executable = messages.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
        let executable = executable.filter_map(|m| m["executable"].as_str().map(str::to_owned)).next_back();
        let executable = executable.ok_or_else(|| format!("cargo built no test {name}"))?;
        sh(&format!("cp {executable} {to}/t/deps/{name} && strip {to}/t/deps/{name}"))?;
    }
    sh(&format!("mkdir -p {to}/lib/systemd && cp {SYSTEMD} {to}/lib/systemd/"))?;
    // The libraries of everything that is not static, by ldd on this machine.
    sh(&format!(
        "for f in {to}/bin/* {to}/lib/systemd/* {to}/t/* {to}/t/deps/*; do [ -L $f ] || ldd $f 2>/dev/null || true; done | grep -o '/[^ ]*' | sort -u | while read -r l; do mkdir -p {to}$(dirname $l); cp -L $l {to}$l; done; true"
    ))?;
    for (name, text) in [
        ("init", INIT.to_owned()),
        ("second", SECOND.to_owned()),
        ("tests", ALL_TESTS.replace("SKIPPED", SKIPPED).replace("MODULES", MODULES)),
        ("etc/systemd/system/tests.service", SERVICE.to_owned()),
        ("etc/systemd/system/default.target", TARGET.to_owned()),
    ] {
        let path = tree.join(name);
        let directory = path.parent().unwrap_or(tree);
        let written = std::fs::create_dir_all(directory).and_then(|()| std::fs::write(&path, text));
        written.map_err(|e| format!("{}: {e}", path.display()))?;
    }
    sh(&format!("chmod 755 {to}/init {to}/second {to}/tests"))
}

/// The first process: it makes a root of which another can be made (what the kernel has unpacked is none: pivot_root(2)),
/// copying nothing, and gives way to the one that the kernel's command line names.
const INIT: &str = r#"#!/bin/busybox sh
/bin/busybox mount -t tmpfs root /run
/bin/busybox mkdir /run/upper /run/work /run/root
/bin/modprobe overlay
/bin/busybox mount -t overlay root -o lowerdir=/,upperdir=/run/upper,workdir=/run/work /run/root
cd /run/root
/bin/busybox mkdir -p var
/bin/busybox mount -t proc proc /proc
if /bin/busybox grep -q first=systemd /proc/cmdline; then next=/lib/systemd/systemd; else next=/second; fi
/bin/busybox umount /proc
/bin/busybox mount --move . /
exec /bin/busybox chroot . $next
"#;

/// Mounts what every host has, and runs the tests.
const SECOND: &str = r#"#!/bin/sh
export PATH=/bin:/sbin TERM=xterm HOME=/root
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts
mount -t cgroup2 cgroup2 /sys/fs/cgroup; mount -t securityfs securityfs /sys/kernel/security
mount -t tmpfs tmp /tmp; mount -t tmpfs run /run
exec /tests
"#;

/// Runs the tests that the kernel's command line names, says how it was, and switches the machine off.
const ALL_TESTS: &str = r#"#!/bin/sh
export PATH=/bin:/sbin TERM=xterm HOME=/root
ip link set lo up
for m in MODULES; do modprobe $m; done
# This kernel's tmpfs maps no ids.
truncate -s 1024M /disk; mkfs.ext4 -qF /disk; mkdir /on-disk; mount -o loop /disk /on-disk
export TMPDIR=/on-disk
bad=
for t in $(sed 's/.*tests=\([^ ]*\).*/\1/; s/,/ /g' /proc/cmdline); do
  echo "== $t at $(cut -d' ' -f1 /proc/uptime) s"
  /t/deps/$t --test-threads=2 SKIPPED || bad="$bad $t"
done
echo "== end at $(cut -d' ' -f1 /proc/uptime) s"
echo "VM-RESULT:${bad:- ok}"
echo o > /proc/sysrq-trigger
while :; do sleep 1; done
"#;

const SERVICE: &str = "\
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/tests
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
";

const TARGET: &str = "\
[Unit]
DefaultDependencies=no
AllowIsolate=yes
Requires=tests.service
";

/// Boots it and reads the result off its console.
fn boot(kernel: &Path, initramfs: &Path, first: &str, names: &[&str]) -> Outcome {
    let tests = names.join(",");
    let line = format!(
        "console=ttyS0 quiet panic=-1 cgroup_no_v1=all apparmor=1 security=apparmor systemd.log_level=warning \
         first={first} tests={tests}"
    );
    let mut child = Command::new("timeout")
        .args([
            "1500",
            "qemu-system-x86_64",
            "-accel",
            "tcg,thread=multi",
            "-cpu",
            "max",
            "-smp",
            "2",
            "-m",
            "5G",
        ])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-append", &line])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(initramfs)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("qemu-system-x86_64: {e}"))?;
    let mut result = None;
    let console = std::io::BufReader::new(child.stdout.take().ok_or("no console")?);
    for line in std::io::BufRead::lines(console).map_while(Result::ok) {
        println!("vm| {}", line.trim_end());
        if let Some((_, verdict)) = line.split_once("VM-RESULT:") {
            result = Some(verdict.trim().to_owned());
        }
    }
    let _ = child.wait();
    match result.as_deref() {
        Some("ok") => Ok(()),
        Some(bad) => Err(format!("on cgroup v2, these failed: {bad}")),
        None => Err("the machine ended without a result".into()),
    }
}

fn package(test: &str) -> &str {
    match test {
        RUNTIME => "runtime",
        NETWORK => "network",
        _ => "e2e",
    }
}

fn sh(script: &str) -> Outcome {
    run(Command::new("sh").args(["-ec", script]))
}
