//! The command line's system side: contexts, ways to an engine, secrets, plugins, names.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use testkit::{Command, Host, program};

fn corten(host: &Host, arguments: &[&str]) -> Command {
    let corten = program("corten").display().to_string();
    host.command(&[&[corten.as_str()], arguments].concat())
        .env("DOCKER_CONFIG", &host.path("shared").display().to_string())
}

/// The original client with the same configuration.
fn docker(host: &Host, arguments: &[&str]) -> Command {
    host.command(&[&["docker"], arguments].concat())
        .env("DOCKER_CONFIG", &host.path("shared").display().to_string())
}

/// A program of the test's own, in `bin` on the host.
fn script(host: &Host, name: &str, text: &str) -> PathBuf {
    std::fs::create_dir_all(host.path("bin")).unwrap();
    let path = host.path("bin").join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The `PATH` with `bin` in front.
fn path(host: &Host) -> String {
    format!("{}:{}", host.path("bin").display(), std::env::var("PATH").unwrap())
}

#[test]
fn contexts_are_shared_with_docker() {
    let host = Host::bare();
    let endpoint = format!("host={}", host.socket());
    corten(&host, &["context", "create", "ours", "--description", "by corten", "--docker", &endpoint]).ok();
    docker(&host, &["context", "create", "theirs", "--docker", &endpoint]).ok();
    for name in ["ours", "theirs"] {
        let seen = corten(&host, &["context", "inspect", name]).ok();
        assert_eq!(seen, docker(&host, &["context", "inspect", name]).ok());
        assert_eq!(corten(&host, &["--context", name, "ps", "-q"]).ok(), "");
        assert_eq!(docker(&host, &["--context", name, "ps", "-q"]).ok(), "");
        let name_variable =
            corten(&host, &["version", "-f", "{{.Client.Context}}"]).env("DOCKER_CONTEXT", name);
        assert_eq!(name_variable.ok(), name);
    }

    // One says which, both use it.
    assert_eq!(corten(&host, &["context", "use", "theirs"]).ok(), "theirs");
    assert_eq!(docker(&host, &["context", "show"]).ok(), "theirs");
    assert_eq!(corten(&host, &["ps", "-q"]).ok(), "");
    assert!(corten(&host, &["context", "rm", "theirs"]).fails(1).contains("is in use"));
    // A flag goes before it, and a variable too.
    let elsewhere = corten(&host, &["-H", "unix:///nowhere", "ps"]).fails(1);
    let by_variable = corten(&host, &["ps"]).env("DOCKER_HOST", "unix:///nowhere").fails(1);
    let expected = "Cannot connect to the Docker daemon at unix:///nowhere. Is the docker daemon running?\n";
    assert_eq!((elsewhere.as_str(), by_variable.as_str()), (expected, expected));

    // Archives go both ways.
    let archive = |name: &str| host.path(name).display().to_string();
    docker(&host, &["context", "export", "ours", &archive("a.tar")]).ok();
    corten(&host, &["context", "import", "copy-a", &archive("a.tar")]).ok();
    corten(&host, &["context", "export", "ours", &archive("b.tar")]).ok();
    docker(&host, &["context", "import", "copy-b", &archive("b.tar")]).ok();
    let names = corten(&host, &["context", "ls", "-q"]).ok();
    assert_eq!(names, "copy-a\ncopy-b\ndefault\nours\ntheirs");
    let listed = ["-H", &host.socket(), "context", "ls"];
    assert_eq!(corten(&host, &listed).ok(), docker(&host, &listed).ok());
    corten(&host, &["context", "rm", "-f", "copy-a", "copy-b", "ours", "theirs"]).ok();
    assert_eq!(docker(&host, &["context", "ls", "-q"]).ok(), "default");
    let config = std::fs::metadata(host.path("shared/config.json")).unwrap();
    assert_eq!(config.permissions().mode() & 0o777, 0o600);
    host.finish();
}

#[test]
fn ssh_runs_the_command_line_there() {
    let host = Host::new();
    // Runs what ssh would run on the other machine.
    script(
        &host,
        "ssh",
        "#!/bin/sh\necho \"$*\" >> \"$0.log\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexec sh -c \"$*\"\n",
    );
    symlink(program("corten"), host.path("bin/corten")).unwrap();
    let socket = host.socket();
    let url = format!("ssh://me@box:2222{}", socket.strip_prefix("unix://").unwrap());
    let far =
        |arguments: &[&str]| corten(&host, &[&["-H", &url], arguments].concat()).env("PATH", &path(&host));
    assert_eq!(far(&["run", "--rm", "busybox", "echo", "far away"]).ok(), "far away");
    // The end of the input arrives, and what comes after it.
    let counted = far(&["run", "--rm", "-i", "busybox", "sh", "-c", "wc -c; echo end"]).stdin("12345").ok();
    assert_eq!(counted, "5\nend");
    let log = std::fs::read_to_string(host.path("bin/ssh.log")).unwrap();
    assert!(log.starts_with("-l me -p 2222 -o ConnectTimeout=30 -T -- box "), "{log}");

    // The original client through our end.
    symlink(program("corten"), host.path("bin/docker-far")).unwrap();
    let raw = corten(&host, &["-H", &host.socket(), "system", "dial-stdio"]);
    let answer = raw.stdin("GET /_ping HTTP/1.0\r\n\r\n").ok();
    assert!(answer.starts_with("HTTP/1.0 200 OK") && answer.ends_with("OK"), "{answer}");

    script(&host, "ssh", "#!/bin/sh\necho 'ssh: no such box' >&2\nexit 255\n");
    let refused = far(&["ps"]).fails(1);
    assert!(refused.contains("no such box") && refused.contains("is the URL right"), "{refused}");
    host.finish();
}

#[test]
fn credentials_live_with_the_helper() {
    let host = Host::bare();
    let root = host.path("registry").display().to_string();
    let passwords = host.path("htpasswd");
    std::fs::write(&passwords, Command::new(&["htpasswd", "-Bbn", "me", "secret"]).ok()).unwrap();
    let config = format!(
        "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {root}\nhttp:\n  addr: 127.0.0.1:5009\nauth:\n  htpasswd:\n    realm: r\n    path: {}\n",
        passwords.display()
    );
    std::fs::write(host.path("registry.yml"), config).unwrap();
    let yml = host.path("registry.yml").display().to_string();
    let mut registry = host.command(&["docker-registry", "serve", &yml]).spawn();
    testkit::until("the registry", || {
        let code = host.command(&["curl", "-s", "-m", "2", "http://127.0.0.1:5009/v2/"]).output().code;
        (code == 0).then_some(())
    });

    script(
        &host,
        "docker-credential-shelf",
        "#!/bin/sh\nf=\"$0.secret\"\nin=$(cat)\ncase $1 in\nstore) echo \"$in\" > \"$f\";;\nget) cat \"$f\" 2>/dev/null || { echo 'credentials not found in native keychain'; exit 1; };;\nerase) rm -f \"$f\";;\nlist) echo '{}';;\nesac\n",
    );
    std::fs::create_dir(host.path("shared")).unwrap();
    let file = host.path("shared/config.json");
    std::fs::write(&file, r#"{"credsStore":"shelf","kept":{"by":"others"}}"#).unwrap();
    let ours = |arguments: &[&str]| {
        let socket = host.socket();
        corten(&host, &[&["-H", &socket], arguments].concat()).env("PATH", &path(&host))
    };
    let login =
        |password: &str| ours(&["login", "-u", "me", "--password-stdin", "127.0.0.1:5009"]).stdin(password);
    let refused = login("wrong").fails(1).to_lowercase();
    assert!(refused.contains("unauthorized"), "{refused}");
    let done = login("secret\n").output();
    assert_eq!((done.code, done.stdout.as_str(), done.stderr.as_str()), (0, "Login Succeeded\n", ""));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains("bWU6") && text.contains("\"by\": \"others\""), "{text}");
    assert!(
        std::fs::read_to_string(host.path("bin/docker-credential-shelf.secret")).unwrap().contains("secret")
    );
    // The registry lets us in: what is missing is the image.
    assert!(ours(&["pull", "127.0.0.1:5009/x"]).fails(1).contains("not found"));
    ours(&["logout", "127.0.0.1:5009"]).ok();
    assert!(!host.path("bin/docker-credential-shelf.secret").exists());
    assert!(!ours(&["pull", "127.0.0.1:5009/x"]).fails(1).contains("not found"));
    registry.kill().unwrap();
    registry.wait().unwrap();
    host.finish();
}

#[test]
fn a_plugin_speaks_to_the_same_engine() {
    let host = Host::bare();
    let plugins = host.path("shared/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    let said = "#!/bin/sh\nif [ \"$1\" = docker-cli-plugin-metadata ]; then\necho '{\"SchemaVersion\":\"0.1.0\",\"Vendor\":\"Test\",\"Version\":\"v1.2\",\"ShortDescription\":\"Composes\"}'; exit; fi\necho \"$* | ${DOCKER_HOST} | ${DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND##*/}\"\nexit 7\n";
    let plugin = script(&host, "plugin", said);
    for name in ["docker-compose", "docker-buildx"] {
        symlink(&plugin, plugins.join(name)).unwrap();
    }
    let called = corten(&host, &["-D", "--host", "tcp://a:1", "compose", "-f", "x", "up"]).output();
    assert_eq!(
        (called.code, called.stdout.as_str()),
        (7, "-D --host tcp://a:1 compose -f x up |  | corten\n")
    );
    // Where nobody chose an engine, the plugin gets ours: by itself it would take Docker's.
    let called = corten(&host, &["compose", "version"]).output();
    assert_eq!(called.stdout, "compose version | unix:///run/corten/corten.sock | corten\n");
    let baked = corten(&host, &["-H", "tcp://a:1", "bake", "web"]).output();
    assert_eq!(baked.stdout, "-H tcp://a:1 buildx bake web |  | corten\n");
    assert!(corten(&host, &["--help"]).ok().contains("compose*    Composes"));
    let info = corten(&host, &["-H", &host.socket(), "info"]).ok();
    assert!(info.contains("  compose: Composes (Test)\n    Version:  v1.2\n"), "{info}");
    assert!(corten(&host, &["nonesuch"]).fails(1).starts_with("corten: unknown command: corten nonesuch\n"));
    host.finish();
}

#[test]
fn started_as_docker_it_is_docker() {
    let host = Host::bare();
    std::fs::create_dir_all(host.path("bin")).unwrap();
    let link = host.path("bin/docker");
    symlink(program("corten"), &link).unwrap();
    let link = link.display().to_string();
    let same = |arguments: &[&str]| {
        let socket = host.socket();
        let words = [&["-H", &socket], arguments].concat();
        let run = |program: &str| {
            let output = host.command(&[&[program], words.as_slice()].concat()).output();
            (output.code, output.stdout, output.stderr)
        };
        assert_eq!(run(&link), run("docker"), "{arguments:?}");
    };
    same(&["nonesuchcommand"]);
    same(&["ps", "--nonesuch"]);
    same(&["system", "nonesuchverb"]);
    same(&["network"]);
    same(&["run"]);
    same(&["run", "nonesuch image"]);
    same(&["volume", "inspect", "nonesuch"]);
    same(&["help", "nonesuch"]);
    let version = host.command(&[&link, "--version"]).ok();
    assert!(version.starts_with("Docker version 29.") && version.contains(", build corten"), "{version}");
    host.finish();
}

#[test]
fn bash_completes_names() {
    let host = Host::new();
    host.corten(&["run", "-d", "--name", "running-1", "busybox", "sleep", "1000"]).ok();
    host.corten(&["create", "--name", "made-1", "busybox", "true"]).ok();
    host.corten(&["volume", "create", "vault"]).ok();
    let bin = host.path("bin");
    std::fs::create_dir_all(&bin).unwrap();
    symlink(program("corten"), bin.join("corten")).unwrap();
    // What bash would offer for a line, one candidate on a line.
    let asks = "source <(corten completion bash)
complete -p corten | grep -q _corten_complete || exit 9
COMP_LINE=\"$LINE\"; COMP_POINT=${#LINE}; read -ra COMP_WORDS <<<\"$LINE\"
[[ \"$LINE\" == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_corten_complete
printf '%s\\n' \"${COMPREPLY[@]}\"";
    let offers = |line: &str| {
        let bash = host.command(&["bash", "-c", asks]).env("PATH", &path(&host)).env("LINE", line);
        let output = bash.env("DOCKER_HOST", &host.socket()).env("DOCKER_CONFIG", "/nonexistent").output();
        assert_eq!((output.code, output.stderr.as_str()), (0, ""), "{line}");
        output.stdout.trim().to_owned()
    };
    assert_eq!(offers("corten exec "), "running-1");
    assert_eq!(offers("corten start "), "made-1");
    assert_eq!(offers("corten rm "), "made-1\nrunning-1");
    assert_eq!(offers("corten rm ru"), "running-1");
    assert_eq!(offers("corten run --rm busy"), "busybox");
    assert_eq!(offers("corten run --network br"), "bridge");
    assert_eq!(offers("corten volume rm "), "vault");
    assert_eq!(offers("corten volu"), "volume");
    assert_eq!(
        offers("corten volume "),
        "cp\ncreate\nexport\nimport\ninspect\nls\nprune\nrename\nrm\nupdate"
    );
    assert_eq!(offers("corten run --read-o"), "--read-only");
    assert_eq!(offers("corten context use d"), "default");
    // With nobody there: silence, and no daemon is started.
    let program = program("corten").display().to_string();
    let silent = host.command(&[&program, "__complete", "-H", "unix:///nowhere", "exec", ""]).output();
    assert_eq!((silent.code, silent.stdout.as_str(), silent.stderr.as_str()), (0, "", ""));
    host.corten(&["rm", "-f", "running-1", "made-1"]).ok();
    host.corten(&["volume", "rm", "vault"]).ok();
    host.finish();
}

#[test]
fn what_is_installed_is_uninstalled() {
    let host = Host::bare();
    let root = host.path("root");
    std::fs::create_dir_all(root.join("var/lib/corten/volumes")).unwrap();
    std::fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
    std::fs::write(root.join("etc/systemd/system/other.service"), "").unwrap();
    let files = || host.command(&["find", &root.display().to_string(), "-type", "f"]).ok();
    let at_root = |words: &[&str]| {
        corten(&host, &[&["system"], words, &["--root", &root.display().to_string()]].concat())
    };
    let before = files();
    let plan = at_root(&["install", "--dry-run"]).ok();
    assert!(plan.contains("write   /etc/systemd/system/corten.service"), "{plan}");
    assert_eq!(files(), before, "a dry run does nothing");
    at_root(&["install", "--prefix", "/opt/corten"]).ok();
    let service = std::fs::read_to_string(root.join("etc/systemd/system/corten.service")).unwrap();
    assert!(service.contains("ExecStart=/opt/corten/bin/cortend "), "{service}");
    let there = |path: &str| root.join(path).exists();
    assert!(there("opt/corten/bin/corten-shim") && there("etc/systemd/system/corten.socket.d/docker.conf"));
    at_root(&["uninstall"]).ok();
    assert_eq!(files(), before);
    assert!(there("var/lib/corten/volumes") && !there("etc/systemd/system/corten.socket.d"));
    assert!(at_root(&["uninstall"]).fails(1).contains("nothing was installed"));
    // Where Docker listens already, its socket is left alone, unless asked for.
    std::fs::create_dir_all(root.join("var/run")).unwrap();
    std::fs::write(root.join("var/run/docker.sock"), "").unwrap();
    assert!(!at_root(&["install", "--dry-run"]).ok().contains("docker.conf"));
    assert!(at_root(&["install", "--dry-run", "--docker-socket"]).ok().contains("docker.conf"));
    at_root(&["uninstall", "--purge"]).ok();
    assert!(!there("var/lib/corten"));
    host.finish();
}
