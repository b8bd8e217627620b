//! The unmodified compose plugin against `cortend`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use testkit::{Host, until};

/// A shop: a database with a health check, a web server that is built and waits for it, a job of a profile.
const SHOP: &str = r#"
name: shop
services:
  db:
    image: busybox
    command: ["sh", "-c", "echo ready > /data/ready; exec httpd -f -p 5432 -h /data"]
    stop_grace_period: 1s
    volumes: ["data:/data"]
    networks:
      back: {aliases: [database]}
    healthcheck: {test: [CMD, test, -f, /data/ready], interval: 200ms, timeout: 5s, retries: 20}
  web:
    build: {context: web, args: {WORD: "${WORD:-default}"}}
    stop_grace_period: 1s
    depends_on:
      db: {condition: service_healthy, restart: true}
      setup: {condition: service_completed_successfully}
    environment: {MODE: "${MODE:-test}"}
    ports: ["127.0.0.1::80"]
    networks: [front, back]
    configs: [{source: page, target: /www/index.html}]
    secrets: [password]
    init: true
    restart: unless-stopped
    labels: {kind: web}
  setup:
    image: busybox
    command: ["sh", "-c", "echo set up"]
    networks: [back]
  job:
    image: busybox
    profiles: [tools]
    command: ["wget", "-q", "-O", "-", "http://database:5432/ready"]
    networks: [back]
configs:
  page: {content: "hello from compose"}
secrets:
  password: {file: ./password.txt}
volumes:
  data: {labels: {kind: test}}
networks:
  front: {}
  back: {internal: true}
"#;

const WEB: &str = "FROM busybox
ARG WORD
RUN mkdir /www && echo $WORD > /word
CMD [\"httpd\", \"-f\", \"-p\", \"80\", \"-h\", \"/www\"]
";

/// Writes the shop's files.
fn shop(host: &Host) -> PathBuf {
    let project = host.path("shop");
    std::fs::create_dir_all(project.join("web")).unwrap();
    testkit::write(&project.join("compose.yaml"), SHOP.as_bytes());
    testkit::write(&project.join("password.txt"), b"secret\n");
    testkit::write(&project.join("web/Dockerfile"), WEB.as_bytes());
    project
}

#[test]
fn up_exec_scale_down() {
    let host = Host::new();
    let project = shop(&host);
    let compose = |arguments: &[&str]| host.compose(&project, arguments).env("WORD", "built");
    compose(&["up", "-d", "--wait", "web"]).ok();

    let services = compose(&["ps", "--all", "--format", "{{.Service}} {{.State}} {{.Health}}"]).ok();
    let mut services: Vec<&str> = services.lines().map(str::trim_end).collect();
    services.sort_unstable();
    assert_eq!(services, ["db running healthy", "setup exited", "web running"]);
    assert_eq!(compose(&["logs", "--no-log-prefix", "setup"]).ok(), "set up");
    assert_eq!(
        compose(&["exec", "-T", "web", "cat", "/word", "/run/secrets/password"]).ok(),
        "built\nsecret"
    );
    let at = compose(&["port", "web", "80"]).ok();
    let page = host.command(&["curl", "-sS", &format!("http://{at}/")]).ok();
    assert_eq!(page, "hello from compose");

    // A profile's job finds the database by its alias.
    assert_eq!(compose(&["run", "--rm", "-T", "job"]).ok(), "ready");
    compose(&["run", "--rm", "-T", "job", "sh", "-c", "exit 9"]).fails(9);

    compose(&["up", "-d", "--wait", "--scale", "web=3", "web"]).ok();
    assert_eq!(compose(&["ps", "-q", "web"]).ok().lines().count(), 3);
    // Only what has changed is made anew.
    let db = compose(&["ps", "-q", "db"]).ok();
    compose(&["up", "-d", "--wait", "web"]).env("MODE", "other").ok();
    assert_eq!(compose(&["ps", "-q", "db"]).ok(), db);
    assert_eq!(compose(&["ps", "-q", "web"]).ok().lines().count(), 1);
    assert_eq!(compose(&["exec", "-T", "web", "sh", "-c", "echo $MODE"]).ok(), "other");

    compose(&["restart", "-t", "1", "web"]).ok();
    compose(&["pause", "web"]).ok();
    compose(&["unpause", "web"]).ok();
    compose(&["top", "web"]).ok();
    compose(&["images"]).ok();
    compose(&["cp", "web:/word", "word"]).ok();
    assert_eq!(std::fs::read_to_string(project.join("word")).unwrap(), "built\n");
    assert!(compose(&["ls"]).ok().contains("shop"));

    compose(&["down", "-v"]).ok();
    assert_eq!(host.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(host.docker(&["volume", "ls", "-q"]).ok(), "");
    assert!(!host.docker(&["network", "ls"]).ok().contains("shop"));
    host.finish();
}

#[test]
fn up_in_the_foreground_ends_with_its_services() {
    let host = Host::new();
    let project = shop(&host);
    let file = "services:\n  a: {image: busybox, command: [sh, -c, 'echo from a; exit 4']}\n  b: {image: busybox, command: [sleep, '1000'], stop_grace_period: 0s}\n";
    testkit::write(&project.join("compose.yaml"), file.as_bytes());
    let up = host.compose(&project, &["up", "--exit-code-from", "a"]).output();
    up.expect(4);
    assert!(up.stdout.contains("from a"), "{}", up.stdout);
    until("b's end", || {
        host.compose(&project, &["ps", "--services", "--status", "running"]).ok().is_empty().then_some(())
    });
    host.compose(&project, &["down"]).ok();
    host.finish();
}
