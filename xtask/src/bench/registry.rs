//! The registry server beside Debian's docker-registry: a blob of 100 MB taken and given, and the memory that a thousand
//! pulls at once cost. Both on the same file system, over loopback.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use super::report::{Promise, Report};
use super::{Options, median};
use crate::Outcome;

const BLOB: usize = 100_000_000;
/// Clients that pull at once where speed is measured, and where memory is.
const SOME: usize = 4;
const MANY: usize = 1000;
/// What each of the many has read when memory is looked at: all of them are in the middle of it.
const MIDDLE: usize = 2_000_000;
/// So many times faster than the peer is the promise, and megabytes at most.
const FASTER: f64 = 2.0;
const MEMORY: f64 = 50.0;

struct Server {
    name: &'static str,
    address: String,
    process: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs it.
pub(super) fn bench(options: &Options) -> Outcome {
    let dist = options.dist()?;
    let directory = std::env::temp_dir().join(format!("ct-bench-registry-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|e| format!("{}: {e}", directory.display()))?;
    let mut report = Report::new("registry", &["corten", "docker-registry"]);
    let measured = measure(&dist, &directory, options.times.min(10), &mut report);
    let _ = std::fs::remove_dir_all(&directory);
    measured?;
    report.finish(options.gate)
}

fn measure(dist: &Path, directory: &Path, times: usize, report: &mut Report) -> Outcome {
    let servers = [corten(dist, directory)?, peer(directory)?];
    let (mut takes, mut gives) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for round in 0..=times {
        let (file, digest) = blob(directory, round)?;
        for (number, server) in servers.iter().enumerate() {
            let taken = take(server, &file, &digest)?;
            let given = give(server, &digest)?;
            // The first round warms caches.
            if round > 0 {
                takes[number].push(taken);
                gives[number].push(given);
            }
        }
    }
    for (what, figures) in [("take a blob of 100 MB", takes), ("give it to 4 at once", gives)] {
        let [ours, theirs] = figures.map(median);
        let faster = theirs / ours;
        let promise = format!("≥ {FASTER} times");
        report.cells(what, "ms", &[ours, theirs], &format!("{faster:.1} times"), &promise);
        if faster < FASTER {
            report.broken(format!("{what}: {faster:.2} times as fast, promised {FASTER}"));
        }
    }
    let (_, digest) = blob(directory, times)?;
    let ours = memory(&servers[0], &digest)?;
    report.row(&format!("memory, {MANY} pulls at once"), "MB", &[ours], Promise::most(MEMORY));
    Ok(())
}

fn corten(dist: &Path, directory: &Path) -> Result<Server, String> {
    let address = free_address()?;
    let mut command = Command::new(dist.join("cortend"));
    command.args(["registry", "serve", "--listen", &address, "--root"]).arg(directory.join("corten"));
    Server::start("corten", address, &mut command)
}

fn peer(directory: &Path) -> Result<Server, String> {
    let program = Path::new("/usr/bin/docker-registry");
    if !program.exists() {
        return Err("docker-registry is missing: apt-get install docker-registry".into());
    }
    let address = free_address()?;
    let config = directory.join("peer.yml");
    let text = format!(
        "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{address}'}}\n",
        directory.join("peer").display()
    );
    std::fs::write(&config, text).map_err(|e| e.to_string())?;
    Server::start("docker-registry", address, Command::new(program).arg("serve").arg(config))
}

fn free_address() -> Result<String, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|e| e.to_string())?;
    Ok(listener.local_addr().map_err(|e| e.to_string())?.to_string())
}

impl Server {
    fn start(name: &'static str, address: String, command: &mut Command) -> Result<Self, String> {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|e| format!("{name}: {e}"))?;
        let server = Self { name, address, process };
        let start = Instant::now();
        while start.elapsed().as_secs() < 10 {
            if TcpStream::connect(&server.address).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Err(format!("{name} does not answer"))
    }

    fn failed(&self, what: &str) -> String {
        format!("{}: {what}", self.name)
    }

    /// Sends the head of a request, and its body from a file; the answer's head, and the line to read the rest from.
    fn ask(&self, head: &str, body: Option<&Path>) -> Result<(String, TcpStream), String> {
        let mut line = TcpStream::connect(&self.address).map_err(|e| self.failed(&e.to_string()))?;
        let length = body.map_or(0, |_| BLOB);
        let request =
            format!("{head} HTTP/1.1\r\nHost: {}\r\nContent-Length: {length}\r\n\r\n", self.address);
        line.write_all(request.as_bytes()).map_err(|e| self.failed(&e.to_string()))?;
        if let Some(path) = body {
            let mut file = std::fs::File::open(path).map_err(|e| e.to_string())?;
            std::io::copy(&mut file, &mut line).map_err(|e| self.failed(&e.to_string()))?;
        }
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            line.read_exact(&mut byte).map_err(|e| self.failed(&e.to_string()))?;
            head.push(byte[0]);
        }
        Ok((String::from_utf8_lossy(&head).into_owned(), line))
    }
}

/// Noise that no other round has, and its digest.
fn blob(directory: &Path, round: usize) -> Result<(PathBuf, String), String> {
    let path = directory.join(format!("blob{round}"));
    let script = format!(
        "[ -e {0} ] || head -c {BLOB} /dev/urandom > {0}; sha256sum {0} | cut -d' ' -f1",
        path.display()
    );
    let output = Command::new("sh").args(["-ec", &script]).output().map_err(|e| e.to_string())?;
    Ok((path, format!("sha256:{}", String::from_utf8_lossy(&output.stdout).trim())))
}

/// As `docker push` does: POST, one PATCH, PUT.
fn take(server: &Server, file: &Path, digest: &str) -> Result<f64, String> {
    let start = Instant::now();
    let location = |head: &str| {
        let line = head.lines().find(|l| l.to_ascii_lowercase().starts_with("location:"));
        let url = line.and_then(|l| l.split_once(':')).map(|(_, url)| url.trim().to_owned());
        let url = url.ok_or_else(|| server.failed(head))?;
        Ok::<_, String>(url.trim_start_matches(&format!("http://{}", server.address)).to_owned())
    };
    let (begun, _) = server.ask("POST /v2/bench/blobs/uploads/", None)?;
    let (sent, _) = server.ask(&format!("PATCH {}", location(&begun)?), Some(file))?;
    let at = location(&sent)?;
    let separator = if at.contains('?') { '&' } else { '?' };
    let (done, _) = server.ask(&format!("PUT {at}{separator}digest={digest}"), None)?;
    let took = start.elapsed().as_secs_f64() * 1e3;
    if done.starts_with("HTTP/1.1 201") { Ok(took) } else { Err(server.failed(&done)) }
}

fn give(server: &Server, digest: &str) -> Result<f64, String> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..SOME).map(|_| scope.spawn(|| pull(server, digest, BLOB).map(drop))).collect();
        pulls.into_iter().try_for_each(|pull| pull.join().map_err(|_| "a client failed".to_owned())?)
    })?;
    Ok(start.elapsed().as_secs_f64() * 1e3)
}

/// Reads so many bytes of a blob, and leaves the line open.
fn pull(server: &Server, digest: &str, bytes: usize) -> Result<TcpStream, String> {
    let (head, mut line) = server.ask(&format!("GET /v2/bench/blobs/{digest}"), None)?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(server.failed(&head));
    }
    let (mut buffer, mut read) = (vec![0; 64 << 10], 0);
    while read < bytes {
        match line.read(&mut buffer) {
            Ok(0) => return Err(server.failed("the blob ended early")),
            Ok(n) => read += n,
            Err(e) => return Err(server.failed(&e.to_string())),
        }
    }
    Ok(line)
}

/// The most that the server had resident, with all clients in the middle of the blob.
fn memory(server: &Server, digest: &str) -> Result<f64, String> {
    let together = Arc::new(Barrier::new(MANY + 1));
    std::thread::scope(|scope| {
        let mut clients = Vec::new();
        for _ in 0..MANY {
            let together = Arc::clone(&together);
            let client = move || {
                let line = pull(server, digest, MIDDLE);
                together.wait();
                together.wait();
                line.map(drop)
            };
            let thread = std::thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, client);
            clients.push(thread.map_err(|e| e.to_string())?);
        }
        together.wait();
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.process.id()));
        together.wait();
        for client in clients {
            client.join().map_err(|_| "a client failed")??;
        }
        let status = status.map_err(|e| e.to_string())?;
        let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().map_err(|_| "odd VmHWM")?;
        Ok(kilobytes / 1024.0)
    })
}
