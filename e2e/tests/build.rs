//! `build`: a Dockerfile becomes an image.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test writes scratch files")]

use std::path::PathBuf;

use testkit::{Host, until};

const DOCKERFILE: &str = r#"ARG BASE=busybox
FROM ${BASE} AS tools
RUN mkdir /out && echo "built on $(uname -s)" > /out/report

FROM busybox
ARG VERSION=1
ENV GREETING="hello there" VERSION=$VERSION
LABEL org.example.name=demo
WORKDIR /app
COPY --from=tools /out/report .
COPY src/ ./src/
COPY *.txt /texts/
ADD bundle.tar.gz /unpacked
RUN echo "$GREETING" > greeting && echo app:x:1000:1000::/app:/bin/sh >> /etc/passwd && chown app src
EXPOSE 8080
VOLUME /data
USER app
ENTRYPOINT ["/bin/sh", "-c"]
CMD ["cat greeting report src/main.c /texts/a.txt /unpacked/in.txt; id -un; pwd; echo $VERSION"]
"#;

fn context(host: &Host) -> PathBuf {
    let directory = host.path("context");
    std::fs::create_dir_all(directory.join("src")).unwrap();
    for (name, text) in [
        ("Dockerfile", DOCKERFILE),
        ("src/main.c", "int main;\n"),
        ("a.txt", "a\n"),
        ("in.txt", "packed\n"),
        ("ignored.txt", "no\n"),
        (".dockerignore", "ignored.txt\n"),
    ] {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let there = directory.display().to_string();
    host.command(&["tar", "-C", &there, "-czf", &format!("{there}/bundle.tar.gz"), "in.txt"]).ok();
    std::fs::remove_file(directory.join("in.txt")).unwrap();
    directory
}

#[test]
fn a_dockerfile_becomes_an_image() {
    let host = Host::new();
    let context = context(&host).display().to_string();
    let first = host.corten(&["build", "-t", "demo:1", &context]).output();
    first.expect(0);
    // The base image is here already; nothing else is.
    let cached = |output: &testkit::Output| output.stderr.matches("CACHED").count();
    assert_eq!(cached(&first), 1, "{}", first.stderr);
    let ran = host.corten(&["run", "--rm", "demo:1"]).ok();
    assert_eq!(ran, "hello there\nbuilt on Linux\nint main;\na\npacked\napp\n/app\n1");
    assert_eq!(host.corten(&["run", "--rm", "demo:1", "ls /texts"]).ok(), "a.txt");
    assert_eq!(
        host.corten(&["inspect", "-f", "{{.Config.Labels}}", "demo:1"]).ok(),
        "map[org.example.name:demo]"
    );

    // The second build takes every step from the cache and gives the same image.
    let id = host.corten(&["inspect", "-f", "{{.Id}}", "demo:1"]).ok();
    let second = host.corten(&["build", "-t", "demo:2", &context]).output();
    let all = second.stderr.lines().filter(|line| line.contains(" [") || line.contains(" FROM ")).count();
    assert_eq!(cached(&second), all, "{}", second.stderr);
    assert_eq!(host.corten(&["inspect", "-f", "{{.Id}}", "demo:2"]).ok(), id);

    // A changed file invalidates from its COPY on.
    std::fs::write(host.path("context/src/main.c"), "int main2;\n").unwrap();
    let third = host.corten(&["build", "-t", "demo:3", &context]).output();
    assert!((2..all).contains(&cached(&third)), "{}", third.stderr);
    assert!(host.corten(&["run", "--rm", "demo:3"]).ok().contains("int main2;"));

    let argument =
        host.corten(&["build", "-q", "--build-arg", "VERSION=2", "--target", "tools", &context]).ok();
    assert!(argument.starts_with("sha256:"), "{argument}");
    host.finish();
}

#[test]
fn from_scratch() {
    let host = Host::new();
    let directory = host.path("scratch");
    std::fs::create_dir(&directory).unwrap();
    std::fs::copy("/bin/busybox", directory.join("busybox")).unwrap();
    std::fs::write(directory.join("Dockerfile"), "FROM scratch\nCOPY busybox /bin/sh\nRUN echo made > /made\nCMD [\"/bin/sh\", \"-c\", \"read x < /made; echo $x\"]\n").unwrap();
    host.corten(&["build", "-t", "tiny", &directory.display().to_string()]).ok();
    assert_eq!(host.corten(&["run", "--rm", "tiny"]).ok(), "made");
    host.finish();
}

#[test]
fn a_broken_dockerfile_is_explained() {
    let host = Host::new();
    let directory = host.path("broken");
    std::fs::create_dir(&directory).unwrap();
    let fails = |text: &str, code: i32| {
        std::fs::write(directory.join("Dockerfile"), text).unwrap();
        host.corten(&["build", "-t", "broken", &directory.display().to_string()]).fails(code)
    };
    let build = |text: &str| fails(text, 1);
    let unknown = build("FROM busybox\nRUN true\nCOPPY a b\n");
    assert!(
        unknown.contains("line 3")
            && unknown.contains("unknown instruction: COPPY")
            && unknown.contains("did you mean COPY"),
        "{unknown}"
    );
    let failed = fails("FROM busybox\nRUN echo before; exit 42\n", 42);
    assert!(failed.contains("non-zero code: 42"), "{failed}");
    let missing = build("FROM busybox\nCOPY nowhere /\n");
    assert!(missing.contains("nowhere"), "{missing}");
    assert!(build("").contains("empty"));
    assert!(!host.corten(&["images"]).ok().contains("broken"));
    host.finish();
}

#[test]
fn a_failing_command_gives_its_exit_code() {
    let host = Host::new();
    let context = host.path("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nRUN exit 43\n").unwrap();
    let context = context.display().to_string();
    for refused in [host.docker(&["build", &context]).fails(43), host.corten(&["build", &context]).fails(43)]
    {
        assert!(
            refused.contains("The command '/bin/sh -c exit 43' returned a non-zero code: 43"),
            "{refused}"
        );
    }
    host.finish();
}

#[test]
fn a_private_base_image_is_pulled_with_the_clients_credentials() {
    let host = Host::new();
    let (root, users) = (host.path("registry").display().to_string(), host.path("users"));
    let line = host.command(&["htpasswd", "-Bbn", "someone", "secret"]).ok();
    std::fs::write(&users, line).unwrap();
    let listen = "127.0.0.1:5004";
    let users = users.display().to_string();
    let words = ["registry", "serve", "--listen", listen, "--root", &root, "--htpasswd", &users];
    let mut server = host.corten(&words).spawn();
    until("the registry", || {
        let answer = host.command(&["curl", "-s", "-m", "2", &format!("http://{listen}/v2/")]).output();
        (answer.code == 0).then_some(())
    });
    let name = format!("{listen}/private/base:1");
    host.docker(&["login", "-u", "someone", "-p", "secret", listen]).ok();
    host.docker(&["tag", "busybox", &name]).ok();
    host.docker(&["push", "-q", &name]).ok();
    host.docker(&["rmi", &name]).ok();
    let context = host.path("context");
    std::fs::create_dir_all(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM {name}\nRUN true\n")).unwrap();
    let context = context.display().to_string();
    // This client has not logged in.
    let refused = host.corten(&["build", &context]).fails(1);
    assert!(refused.contains("denied"), "{refused}");
    host.docker(&["build", "-t", "made", &context]).ok();
    host.docker(&["run", "--rm", "made", "true"]).ok();
    server.kill().unwrap();
    server.wait().unwrap();
    host.finish();
}
