//! docker-py and testcontainers against `cortend`.

use testkit::Host;

#[test]
fn docker_py() {
    let host = Host::new();
    host.python(include_str!("python/docker_py.py")).ok();
    host.finish();
}

#[test]
fn testcontainers() {
    let host = Host::new();
    // Its reaper is an image of its own, which no registry serves here; it is the library's own switch.
    host.python(include_str!("python/with_testcontainers.py"))
        .env("TESTCONTAINERS_RYUK_DISABLED", "true")
        .ok();
    host.finish();
}
