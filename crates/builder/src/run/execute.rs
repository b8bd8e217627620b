//! One RUN: writable layer, files for /etc, network, shim; then all of it away again, and the layer is committed.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use network::{EndpointRequest, Networks, Sandbox};
use shim::client::{Connection, Watch};
use shim::proto::{Attach, Create, Event, Exit};
use spec::Id;
use spec::api::Platform;
use spec::defaults::oci::bind;
use spec::oci::runtime::Mount;
use store::{ChainId, Committed};
use sys::file::{self, Durability};

use super::cancel::kill;
use super::oci::Settings;
use super::stubs::Stubs;
use super::{hosts, oci, stream};
use crate::Host;
use crate::error::{Error, Result};
use crate::graph::{Bits, Place, Vertex};
use crate::instructions::run::{Program, Security};
use crate::solve::Solver;
use crate::writable::Writable;

/// What to execute, and on what.
#[derive(Debug, Clone)]
pub(crate) struct Job {
    /// The container's id.
    pub(crate) id: Id,
    /// The stage's root.
    pub(crate) chain: Option<ChainId>,
    /// The arguments.
    pub(crate) program: Program,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    /// Working directory.
    pub(crate) working_dir: String,
    /// As in USER.
    pub(crate) user: String,
    /// Its network.
    pub(crate) network: Place,
    /// `--mount`s.
    pub(crate) mounts: Vec<Mount>,
    /// Which of `mounts` are of a single file.
    pub(crate) file_mounts: Vec<String>,
    /// How much it may.
    pub(crate) security: Security,
    /// Lines for /etc/hosts.
    pub(crate) extra_hosts: Vec<String>,
    /// What it is called.
    pub(crate) hostname: String,
    /// Whose programs it runs.
    pub(crate) platform: Platform,
    /// For the error when it fails.
    pub(crate) command: String,
}

/// Executes a job and makes a layer of what it changed; `None` when it changed nothing.
pub(crate) fn execute(
    solver: &Solver,
    vertex: &Vertex,
    job: &Job,
    scratch: &Scratch,
) -> Result<Option<Committed>> {
    let Solver { host, cancel, .. } = solver;
    cancel.check()?;
    emulated(&job.platform)?;
    let layer = Writable::create(&host.store, &job.id, job.chain.as_ref())?;
    let sandbox = Connected::new(host, job)?;

    let binds = etc(scratch, &sandbox, host, job)?;
    let mut files: Vec<&str> = vec!["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];
    files.extend(job.file_mounts.iter().map(String::as_str));
    let mut dirs = vec!["/proc", "/dev", "/sys"];
    let mounted = job.mounts.iter().map(|m| m.destination.as_str());
    dirs.extend(mounted.filter(|m| !job.file_mounts.iter().any(|f| f == m)));
    let stubs = Stubs::prepare(&layer, &files, &dirs)?;

    let parent = match solver.request.limits.cgroup_parent.as_str() {
        "" => &host.cgroup_parent,
        chosen => chosen,
    };
    let (spec, filter) = oci::spec(Settings {
        arguments: job.program.arguments.clone(),
        env: job.env.clone(),
        working_dir: &job.working_dir,
        user: &job.user,
        root: layer.mount(),
        mounts: binds.into_iter().chain(job.mounts.iter().cloned()).collect(),
        cgroup: host.cgroups.below(parent, "corten", &format!("build-{}", job.id.short())),
        host_network: job.network == Place::Host,
        security: job.security,
        hostname: &job.hostname,
        limits: &solver.request.limits,
    })?;
    let create = Create {
        dir: None,
        spec,
        netns: false,
        filter: false,
        promise: false,
        log: None,
        open_stdin: false,
        stdin_once: false,
        attach: vec![Attach { stdin: false, stdout: true, stderr: true, framed: true }],
        start: true,
        reaper: false,
        runtime: None,
        cgroups: host.cgroups,
        exit_file: scratch.path.join("exit.json"),
    };
    solver.output.runs_in(&vertex.digest, job.id.short());
    let exit = in_shim(solver, vertex, job, &scratch.path, create, &sandbox, filter.as_deref())?;
    drop(sandbox);
    cancel.check()?;
    if exit.code != 0 {
        return Err(Error::Run { command: job.command.clone(), code: exit.code });
    }
    stubs.remove(layer.mount())?;
    layer.commit(solver.epoch)
}

/// A program of another architecture needs an interpreter in the kernel (binfmt_misc).
fn emulated(platform: &Platform) -> Result<()> {
    let host = Platform::host();
    let same = platform.architecture == host.architecture
        || (host.architecture == "amd64" && platform.architecture == "386")
        || (host.architecture == "arm64" && platform.architecture == "arm");
    if same {
        return Ok(());
    }
    let name = match platform.architecture.as_str() {
        "amd64" => "x86_64",
        "arm64" => "aarch64",
        "386" => "i386",
        other => other,
    };
    let registered = Path::new("/proc/sys/fs/binfmt_misc").join(format!("qemu-{name}"));
    if registered.exists() {
        return Ok(());
    }
    Err(Error::Request(format!(
        "RUN for {platform} needs an emulator, and none is registered here (no {}): install qemu-user-static, or cross-compile in a stage with FROM --platform=$BUILDPLATFORM",
        registered.display()
    )))
}

/// Starts the shim, runs the container to its end, ends the shim.
fn in_shim(
    solver: &Solver,
    vertex: &Vertex,
    job: &Job,
    scratch: &Path,
    create: Create,
    sandbox: &Connected,
    filter: Option<&OwnedFd>,
) -> Result<Exit> {
    let Solver { host, output, cancel, .. } = solver;
    let dir = scratch.join("shim");
    let exit_file = create.exit_file.clone();
    let (ours, theirs) =
        UnixStream::pair().map_err(|e| sys::Error::new("socketpair", "the step's output", e))?;
    let (mut connection, spawned) = host.shim.spawn(job.id.as_str(), &dir)?;
    let ran = (|| {
        // Before the start, so that no event is missed.
        let watch = Connection::connect(&dir)?.watch()?;
        let netns = sandbox.sandbox.as_ref().map(|sandbox| sandbox.netns.as_fd());
        connection.create(create, netns, filter.map(AsFd::as_fd), &[theirs.into()])?;
        if cancel.begin(&dir).is_err() {
            kill(&dir);
        }
        let forwarded = stream::forward(ours, output, &vertex.digest);
        if forwarded.is_err() {
            kill(&dir);
        }
        let exit = wait(watch, &exit_file)?;
        forwarded.map(|()| exit)
    })();
    cancel.end(&dir);
    // After a failed create as well: it ends the shim.
    let deleted = connection.delete();
    if deleted.is_err() {
        // Then nothing else does, and the wait below must end.
        if let Err(error) = sys::process::pidfd_send_signal(spawned.pidfd.as_fd(), spec::signal::KILL) {
            tracing::warn!(%error, "a build step's shim was not killed");
        }
    }
    drop(connection);
    let reaped = sys::process::reap(spawned.pidfd.as_fd());
    let exit = ran?;
    deleted?;
    reaped?;
    Ok(exit)
}

/// Waits for init's end. A shim that died leaves its record, or the container cannot be told to have ended well.
fn wait(mut watch: Watch, exit_file: &Path) -> Result<Exit> {
    loop {
        match watch.next()? {
            Some(Event::Exited(exit)) => return Ok(exit),
            Some(Event::ExecExited { .. } | Event::Oom | Event::LogLost { .. }) => {}
            None => break,
        }
    }
    let record = file::read_if_exists(exit_file)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    record.ok_or_else(|| Error::Step {
        step: "RUN".into(),
        detail: "the shim ended without leaving an exit record".into(),
    })
}

/// Writes the files for /etc and a heredoc's script, and returns their mounts.
fn etc(scratch: &Scratch, sandbox: &Connected, host: &Host, job: &Job) -> Result<Vec<Mount>> {
    let endpoint = sandbox.sandbox.as_ref().and_then(|s| s.endpoints.first());
    let (mut hosts_text, resolv) = match job.network {
        Place::Host => (
            file::read_if_exists(Path::new("/etc/hosts"))?.map(|b| String::from_utf8_lossy(&b).into_owned()),
            file::read_if_exists(Path::new("/etc/resolv.conf"))?.unwrap_or_default(),
        ),
        Place::None => (None, Vec::new()),
        Place::Named(_) => {
            (None, host.networks.resolv_conf(&sandbox.requests, &[], &[], &[]).text.into_bytes())
        }
    };
    let address = endpoint.and_then(|e| e.addresses().next());
    let gateway = address.and_then(|a| a.gateway);
    let own = hosts::hosts(&job.hostname, address.map(|a| a.ip), gateway, &job.extra_hosts)?;
    if let Some(text) = &mut hosts_text {
        text.push_str(&own);
    }
    let hosts_text = hosts_text.unwrap_or(own);
    let mut mounts = Vec::new();
    for (name, bytes) in [
        ("hosts", hosts_text.as_bytes()),
        ("hostname", format!("{}\n", job.hostname).as_bytes()),
        ("resolv.conf", &resolv),
    ] {
        let path = scratch.write(name, bytes, 0o644)?;
        mounts.push(bind(&path, &format!("/etc/{name}"), &["rw", "rprivate"]));
    }
    if let (Some(script), Some(path)) = (&job.program.script, job.program.arguments.first()) {
        let source = scratch.write("script", script.as_bytes(), 0o755)?;
        mounts.push(bind(&source, path, &["ro", "rprivate"]));
    }
    Ok(mounts)
}

/// A RUN's place on its network. Dropped: released.
#[derive(Debug)]
struct Connected {
    networks: Networks,
    id: Id,
    requests: Vec<EndpointRequest>,
    /// `None`: the host's network.
    sandbox: Option<Sandbox>,
}

impl Connected {
    fn new(host: &Host, job: &Job) -> Result<Self> {
        let mut requests = Vec::new();
        if let Place::Named(network) = &job.network {
            requests.push(EndpointRequest {
                network: network.clone(),
                container_name: "a build step".into(),
                ..EndpointRequest::default()
            });
        }
        let sandbox = match job.network {
            Place::Host => None,
            Place::None | Place::Named(_) => Some(host.networks.connect(&job.id, &requests, &[])?),
        };
        Ok(Self { networks: host.networks.clone(), id: job.id.clone(), requests, sandbox })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if self.sandbox.take().is_some()
            && let Err(error) = self.networks.release(&self.id)
        {
            tracing::warn!(id = self.id.short(), %error, "a build step's network stays behind");
        }
    }
}

/// A directory of the step's own. Dropped: removed.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(crate) fn create(path: PathBuf) -> Result<Self> {
        file::create_dir_all(&path, 0o700)?;
        Ok(Self { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> Result<String> {
        let path = self.path.join(name);
        file::write_atomic(&path, bytes, mode, Durability::Process)?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// A file with an owner.
    pub(crate) fn secret(&self, name: &str, bytes: &[u8], bits: Bits) -> Result<String> {
        let path = self.write(name, bytes, bits.mode)?;
        file::chown(Path::new(&path), bits.uid, bits.gid)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = file::remove_tree(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a build step's directory stays behind");
        }
    }
}
