//! `corten` against the original daemon: Debian's dockerd.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Child;

use testkit::{Command, Host, image, program, until};

/// Debian's dockerd on a host's network, in a directory of its own.
struct Dockerd {
    daemon: Child,
    directory: String,
}

impl Dockerd {
    fn start(host: &Host) -> Self {
        Self::with(host, "")
    }

    /// With more flags.
    fn with(host: &Host, flags: &str) -> Self {
        let directory = host.path("dockerd").display().to_string();
        std::fs::create_dir_all(&directory).unwrap();
        let log = format!(
            "exec dockerd --data-root {directory}/data --exec-root {directory}/run --pidfile {directory}/pid -H unix://{directory}/s {flags} >{directory}/log 2>&1"
        );
        let daemon = host.command(&["sh", "-c", &log]).spawn();
        Self { daemon, directory }
    }

    fn socket(&self) -> String {
        format!("unix://{}/s", self.directory)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // SIGTERM: it ends its containerd and unmounts what it mounted.
        let _ = Command::new(&["kill", &self.daemon.id().to_string()]).output();
        let _ = self.daemon.wait();
        let unmount = format!("umount -R {0}/data {0}/run/netns/* {0}/run 2>/dev/null; true", self.directory);
        let _ = Command::new(&["sh", "-c", &unmount]).output();
    }
}

#[test]
fn run_and_ps() {
    let host = Host::bare();
    let dockerd = Dockerd::start(&host);
    let corten = |arguments: &[&str]| {
        let program = program("corten").display().to_string();
        host.command(&[&[program.as_str(), "-H", &dockerd.socket()], arguments].concat())
    };
    until("dockerd", || (corten(&["version"]).output().code == 0).then_some(()));
    let tar = host.path("busybox.tar");
    testkit::write(&tar, &image::busybox());
    corten(&["import", "-c", "CMD [\"sh\"]", &tar.display().to_string(), "busybox:latest"]).ok();
    assert_eq!(corten(&["run", "--rm", "busybox", "echo", "hello"]).ok(), "hello");
    corten(&["run", "--rm", "busybox", "sh", "-c", "exit 7"]).fails(7);
    corten(&["run", "--rm", "busybox", "no-such-program"]).fails(127);
    let id = corten(&["run", "-d", "--name", "c1", "busybox", "sleep", "1000"]).ok();
    assert_eq!(corten(&["ps", "-q", "--no-trunc"]).ok(), id);
    assert_eq!(corten(&["exec", "c1", "echo", "inside"]).ok(), "inside");
    corten(&["rm", "-f", "c1"]).ok();
    assert_eq!(corten(&["ps", "-aq"]).ok(), "");
    drop(dockerd);
    host.finish();
}

#[test]
fn tls_with_both_sides_verified() {
    let host = Host::bare();
    let made = host.path("tls");
    std::fs::create_dir(&made).unwrap();
    certificates(&made);
    let dir = made.display().to_string();
    let flags = format!(
        "-H tcp://127.0.0.1:2376 --tlsverify --tlscacert {dir}/ca.pem --tlscert {dir}/server-cert.pem --tlskey {dir}/server-key.pem"
    );
    let dockerd = Dockerd::with(&host, &flags);
    let corten = |arguments: &[&str]| {
        let program = program("corten").display().to_string();
        let configuration = host.path("shared").display().to_string();
        host.command(&[&[program.as_str()], arguments].concat()).env("DOCKER_CONFIG", &configuration)
    };
    until("dockerd", || (corten(&["-H", &dockerd.socket(), "version"]).output().code == 0).then_some(()));
    let url = "tcp://127.0.0.1:2376";
    let files: [&str; 6] = [
        "--tlscacert",
        &format!("{dir}/ca.pem"),
        "--tlscert",
        &format!("{dir}/cert.pem"),
        "--tlskey",
        &format!("{dir}/key.pem"),
    ];
    // By flags, by variables, by a context: of ours or of the original client.
    assert_eq!(corten(&[&["-H", url, "--tlsverify"], &files[..], &["ps", "-q"]].concat()).ok(), "");
    let by_variables =
        corten(&["-H", url, "ps", "-q"]).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", &dir);
    assert_eq!(by_variables.ok(), "");
    let endpoint = format!("host={url},ca={dir}/ca.pem,cert={dir}/cert.pem,key={dir}/key.pem");
    corten(&["context", "create", "secure", "--docker", &endpoint]).ok();
    assert_eq!(corten(&["--context", "secure", "ps", "-q"]).ok(), "");
    let shared = host.path("shared").display().to_string();
    let original = host.command(&["docker", "--context", "secure", "ps", "-q"]).env("DOCKER_CONFIG", &shared);
    assert_eq!(original.ok(), "");

    // Without TLS, without a certificate, with a stranger's authority, under a name it has not.
    let refused = |arguments: &[&str]| corten(&[arguments, &["ps"]].concat()).fails(1);
    assert!(refused(&["-H", url]).contains("Client sent an HTTP request to an HTTPS server"));
    let bare = refused(&["-H", url, "--tlsverify", "--tlscacert", files[1]]);
    assert!(bare.contains("client authentication (--tlsverify)"), "{bare}");
    let stranger = refused(&["-H", url, "--tlsverify", "--tlscacert", &format!("{dir}/other/ca.pem")]);
    assert!(stranger.contains("UnknownIssuer"), "{stranger}");
    let misnamed = refused(&[&["-H", "tcp://127.0.0.2:2376", "--tlsverify"], &files[..]].concat());
    assert!(misnamed.contains("Cannot connect"), "{misnamed}");
    drop(dockerd);
    host.finish();
}

fn certificates(directory: &std::path::Path) {
    let openssl = "set -e
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca-key.pem -out ca.pem -subj /CN=test
for who in server client; do
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=$who
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=%sAuth\\n' $who > $who.ext
  openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -out $who-cert.pem -days 2 -extfile $who.ext
done
mkdir other && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout other/key.pem -out other/ca.pem -subj /CN=other && mv client-cert.pem cert.pem && mv client-key.pem key.pem";
    Command::new(&["sh", "-c", openssl]).directory(directory).ok();
}
