//! The original clients that Debian's stable release does not have: the compose and buildx plugins from its newer
//! suites, docker-py and testcontainers from PyPI, and the object store of moto. They are kept in `target/clients/`.

use std::process::Command;

use crate::{Outcome, root, run, test};

/// What fetching them needs itself.
const NEEDS: [(&str, &str); 4] = [
    ("curl", "/usr/bin/curl"),
    ("xz-utils", "/usr/bin/xz"),
    ("python3", "/usr/bin/python3"),
    ("python3-venv", "/usr/share/doc/python3-venv"),
];

/// Where Debian's packages are.
const DEBIAN: &str = "http://deb.debian.org/debian";
/// The suites to look in, the newest first: what has left one (for a newer version) is still in the next.
const SUITES: [&str; 2] = ["sid", "trixie"];
/// Plugins of the docker command line, each named as its package.
const PLUGINS: [&str; 2] = ["docker-compose", "docker-buildx"];
/// Packages of PyPI.
const PYTHON: [&str; 4] = ["docker", "testcontainers", "websocket-client", "moto[s3,server]"];

/// Fetches those that are not there yet.
pub(crate) fn clients() -> Outcome {
    test::install(&NEEDS)?;
    let home = root().join("target/clients");
    std::fs::create_dir_all(&home).map_err(|e| format!("{}: {e}", home.display()))?;
    for plugin in PLUGINS {
        if !home.join(plugin).exists() {
            println!("fetching {plugin}");
            fetch(plugin)?;
        }
    }
    let wanted = PYTHON.join(" ");
    if std::fs::read_to_string(home.join("python/done")).is_ok_and(|done| done.trim() == wanted) {
        return Ok(());
    }
    println!("fetching {wanted}");
    sh(&format!(
        "rm -rf python && /usr/bin/python3 -m venv python && python/bin/pip install -q {wanted} && \
         echo '{wanted}' > python/done"
    ))?;
    Ok(())
}

/// Takes a plugin out of Debian's package, checked against the archive's index.
fn fetch(package: &str) -> Outcome {
    let one = |suite: &str| {
        sh(&format!(
            "rm -rf {package}.* && \
             curl -sSf {DEBIAN}/dists/{suite}/main/binary-amd64/Packages.xz | xz -dc > {package}.index && \
             awk -v RS= '/^Package: {package}\\n/' {package}.index > {package}.entry && \
             file=$(sed -n 's/^Filename: //p' {package}.entry) && \
             curl -sSf -o {package}.deb \"{DEBIAN}/$file\" && \
             echo \"$(sed -n 's/^SHA256: //p' {package}.entry)  {package}.deb\" | sha256sum -c --quiet && \
             dpkg-deb -x {package}.deb {package}.tree && \
             mv {package}.tree/usr/libexec/docker/cli-plugins/{package} {package} && rm -rf {package}.*"
        ))
    };
    let mut failures = Vec::new();
    for suite in SUITES {
        match one(suite) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push(error),
        }
    }
    Err(failures.join("\n"))
}

fn sh(script: &str) -> Outcome {
    run(Command::new("sh").args(["-ec", &format!("cd target/clients\n{script}")]))
}
