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

/// Both clients on one dockerd with `busybox:latest`, and the containers `up` and `done`.
struct Both<'a> {
    host: &'a Host,
    socket: String,
}

impl<'a> Both<'a> {
    fn new(host: &'a Host, dockerd: &Dockerd) -> Self {
        let both = Self { host, socket: dockerd.socket() };
        until("dockerd", || (both.docker(&["version"]).output().code == 0).then_some(()));
        let tar = host.path("busybox.tar");
        testkit::write(&tar, &image::busybox());
        both.docker(&["import", "-c", "CMD [\"sh\"]", &tar.display().to_string(), "busybox:latest"]).ok();
        let up = "run -d --name up --network none --label a=1 --label b.c=x,y -e A=1 --expose 99 -v vol:/v busybox";
        both.docker(
            &[&up.split(' ').collect::<Vec<_>>()[..], &["sh", "-c", "echo out; exec sleep 1000"]].concat(),
        )
        .ok();
        both.docker(&["run", "--name", "done", "--network", "none", "busybox", "sh", "-c", "exit 3"])
            .fails(3);
        both
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        self.run("docker", arguments)
    }

    fn corten(&self, arguments: &[&str]) -> Command {
        self.run(&program("corten").display().to_string(), arguments)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Command {
        self.host
            .command(&[&[program, "-H", &self.socket], arguments].concat())
            .env("DOCKER_CONFIG", &self.host.path("client").display().to_string())
    }

    /// The same command of both: the same code, the same words. Where they differ, docker is asked once more: what it says of a
    /// time may have changed between the two, and then both are asked again.
    #[track_caller]
    fn same(&self, arguments: &[&str]) {
        let docker = || {
            let said = self.docker(arguments).output();
            (said.code, said.stdout, said.stderr)
        };
        let corten = || {
            let said = self.corten(arguments).output();
            (said.code, said.stdout, said.stderr.replace("corten", "docker"))
        };
        let (mut theirs, mut ours) = (docker(), corten());
        for _ in 0..5 {
            if ours == theirs {
                return;
            }
            let again = docker();
            if again == theirs {
                break;
            }
            (theirs, ours) = (again, corten());
        }
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}

#[test]
fn commands_print_what_docker_prints() {
    let host = Host::bare();
    let dockerd = Dockerd::start(&host);
    let both = Both::new(&host, &dockerd);
    for words in [
        "ps -a --no-trunc --format table",
        "ps -aq",
        "ps -as --filter name=done",
        "ps -a --format raw",
        "ps -aq --format raw",
        "ps -a --filter status=bogus",
        "inspect up done",
        "inspect --type container -s done",
        "inspect --type volume vol",
        "inspect nosuch",
        "inspect -f json done",
        "inspect -f {{end}} up",
        "port up 99",
        "top up -o pid,comm",
        "diff done",
        "logs up",
        "logs --tail bogus up",
        "wait done",
        "rename nosuch x",
        "start up nosuch",
        "rm up",
        "rm -f nosuch",
        "exec up sh -c pwd",
        "exec up nosuch",
        "exec done true",
        "run --rm --network none busybox nosuch",
        "run --rm --network none busybox /etc",
        "run --rm --network none --name up busybox true",
        "run --rm --pull never nosuch true",
        "create --mount type=bind,src=/a busybox",
        "create -p x busybox",
        "create --network up --network host busybox",
        "update --restart bogus:x up",
        "export -o /no/where/x up",
        "stats --no-stream --format {{.Name}}={{.PIDs}} up",
        "stats --no-stream nosuch nosuch2",
        "stats --no-stream done",
        "events --since 1h --until 0s --filter container=done --format json",
        "events --since 1h --until 0s --filter container=done",
        "events --since bogus",
    ] {
        both.same(&words.split(' ').collect::<Vec<_>>());
    }
    for format in [
        "{{.ID}} {{.Names}}\\t{{.Label \"a\"}}",
        "table {{.Names}}\\t{{.Label \"b.c\"}}\\t{{.Labels}}\\t{{.Mounts}}\\t{{.LocalVolumes}}\\t{{.State}}",
        "table {{upper .Names}} {{json .State}}\\t{{printf \"%.5s\" .ID}}",
        "{{json .Labels}} {{json .Command}}",
        "{{if eq .State \"running\"}}R{{else}}S{{end}} {{.Names | title | printf \"%-8s|\"}}",
        "{{range $i, $n := split .Names \"\"}}{{$i}}:{{$n}};{{end}}",
        "{{with .Ports}}{{.}}{{else}}none{{end}} {{truncate .ID 3}}{{pad .Names 1 2}}|",
        "{{and .Names .Ports}} {{or .Ports \"-\"}} {{not .Ports}} {{lt (len .Names) 3}}",
        "{{nofunc .ID}}",
        "{{.ID",
    ] {
        both.same(&["ps", "-a", "--format", format]);
    }
    for format in [
        "{{.Id}} {{.Name}} {{.State.Status}} {{.State.ExitCode}}",
        "{{json .Config}} {{json .State}}",
        "{{index .Config.Labels \"b.c\"}} {{.Config.Labels.a}} {{.Config.Labels}}",
        "{{range .Mounts}}{{.Type}}:{{.Destination}} {{.RW}}{{end}} {{.Mounts}}",
        "{{range $k, $v := .NetworkSettings.Networks}}{{$k}} {{$v.IPAddress}}{{end}}",
        "{{.State}} {{.HostConfig.RestartPolicy}} {{.HostConfig.LogConfig}} {{.Config.ExposedPorts}}",
        "{{.Config.Env}} {{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.StopTimeout}} {{.SizeRw}}",
        "{{.State.Health.Status}}",
        "{{define \"x\"}}[{{.}}]{{end}}{{template \"x\" .Name}}",
        "{{.Nope}} ",
        "{{index .Args 9}}",
    ] {
        both.same(&["inspect", "-f", format, "done"]);
        both.same(&["inspect", "-f", format, "up"]);
    }
    both.docker(&["rm", "-f", "up", "done"]).ok();
    drop(dockerd);
    host.finish();
}

#[test]
fn cp_copies_what_docker_copies() {
    const TREE: &str = "mkdir -p s/d/sub t/dir; echo f>s/f; echo a>s/d/a; ln s/d/a s/d/hard; ln -s a s/d/link; \
                        ln -s f s/lf; ln -s d s/ld; ln -s /no/where s/broken; echo e>t/file; ln -s dir t/ldir; \
                        ln -s file t/lfile; ln -s new t/lnew; chmod 750 s/d/sub; chown 33:33 s/f";
    let host = Host::bare();
    let dockerd = Dockerd::start(&host);
    let both = Both::new(&host, &dockerd);
    for name in ["c-docker", "c-corten"] {
        both.docker(&["run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "1000"]).ok();
    }
    for (source, target) in [
        ("f", "t"),
        ("f", "t/new"),
        ("f", "t/file"),
        ("f", "t/none/"),
        ("f", "t/none/x"),
        ("f", "t/ldir"),
        ("f", "t/lfile"),
        ("f", "t/lnew"),
        ("f/", "t"),
        ("d", "t"),
        ("d/.", "t"),
        ("d", "t/new"),
        ("d/.", "t/new"),
        ("lf", "t"),
        ("-L lf", "t"),
        ("-L ld", "t"),
        ("-L ld/.", "t"),
        ("ld/", "t"),
        ("ld/.", "t"),
        ("broken", "t"),
        ("-L broken", "t"),
        ("nope", "t"),
        ("-q=false d", "t"),
        ("-q=false f", "t/new"),
    ] {
        for out in [true, false] {
            let results = ["docker", "corten"].map(|client| {
                let container = format!("c-{client}");
                let here = host.path(&format!("in-{client}"));
                let _ = std::fs::remove_dir_all(&here);
                std::fs::create_dir(&here).unwrap();
                let root = format!("rm -rf /s /t; cd /; {TREE}");
                both.docker(&["exec", &container, "sh", "-c", &root]).ok();
                Command::new(&["sh", "-c", TREE]).directory(&here).ok();
                let (flags, source) = source.rsplit_once(' ').unwrap_or(("", source));
                let (source, target) = match out {
                    true => (format!("{container}:/s/{source}"), target.to_owned()),
                    false => (format!("s/{source}"), format!("{container}:/{target}")),
                };
                let mut words = vec!["cp"];
                words.extend(flags.split(' ').filter(|flag| !flag.is_empty()));
                words.extend([source.as_str(), target.as_str()]);
                let command = if client == "docker" { both.docker(&words) } else { both.corten(&words) };
                let output = command.directory(&here).output();
                let list = "find s t -exec stat -c '%n %F %a %u:%g %N %h' {} \\; | sort";
                let local = Command::new(&["sh", "-c", list]).directory(&here).ok();
                let remote = both.docker(&["exec", &container, "sh", "-c", &format!("cd /; {list}")]).ok();
                // The original's own log, and the names of directories that differ.
                let errors =
                    output.stderr.lines().filter(|line| !line.starts_with("time=")).collect::<String>();
                let errors = errors.replace(&here.display().to_string(), "HERE").replace(&container, "C");
                let errors = errors.split("overlay2").next().unwrap_or_default().to_owned();
                (output.code, errors, local, remote)
            });
            let [docker, corten] = results;
            assert_eq!(corten, docker, "cp {source} {target}, out of the container: {out}");
        }
    }
    both.docker(&["rm", "-f", "up", "done", "c-docker", "c-corten"]).ok();
    drop(dockerd);
    host.finish();
}
