//! Start: one call has the shim make the sandbox and run init. It begins with the cgroups; the network, the root and the files
//! that it needs then are made here at the same time.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use network::{Endpoint, EndpointRequest, Sandbox};
use shim::promise::{EarlyRoot, Promise};
use shim::proto::{Create, Foreign, Log, Reply, Request};
use sys::mount::Mount;

use super::idmap;
use super::link::{Called, Events, Link};
use super::mounts::{Kind, MountPoint};
use super::record::{Attachment, NetworkMode, Record};
use super::shims::Shim;
use super::state::{Effect, Event, Illegal, Phase};
use super::userns::Ids;
use super::{Container, apparmor, cgroup, files, oci, ports, propagation};
use crate::blocking::{aside, blocking, to_the_end};
use crate::{Engine, Error, error};

/// How long a start waits for the shim of the run before: a client that takes no output may keep it.
const LEAVING: Duration = Duration::from_secs(1);

/// A container with `--rm` that lives longer is not waited for in one breath with its start.
const SHORT_LIFE: Duration = Duration::from_millis(50);

/// What a start has made so far. An error gives it back in reverse, all of it.
#[derive(Default)]
struct Made {
    network: Option<Sandbox>,
    link: Option<Arc<Link>>,
    /// What it has mounted in its volumes.
    volumes: Vec<MountPoint>,
}

/// Pids in the namespaces of other containers that are joined.
#[derive(Debug, Clone, Copy)]
struct Joined {
    pid: Option<i32>,
    ipc: Option<i32>,
    /// In the user namespace, which may be held for this container only.
    user: Option<i32>,
}

/// What a shim is told of a container.
type Configured = (spec::oci::runtime::Spec, Option<Arc<OwnedFd>>, Option<EarlyRoot>);

/// The networks that a container is to be on, and what it publishes.
type Connect = (Vec<EndpointRequest>, Vec<network::PortRequest>);

/// How a container comes to its network namespace.
struct Plan {
    connect: Option<Connect>,
    /// The container whose namespace it shares.
    shares: Option<Shared>,
}

/// A container that runs, and its network namespace.
struct Shared {
    container: Arc<Container>,
    /// Its init's.
    pid: i32,
    netns: OwnedFd,
}

/// What a start knows before its configuration is written.
struct Given {
    rw: store::RwMount,
    /// Where the files are that [`Engine::write_files`] writes: the container's, or that one's whose network it shares.
    files: PathBuf,
    hostname: String,
    joined: Joined,
    /// One that is not our own.
    runtime: Option<Foreign>,
    log: Option<Log>,
    early: Vec<super::EarlyClient>,
    /// The shim's end of what it is promised.
    promise: OwnedFd,
    /// A network namespace is promised.
    netns: bool,
}

/// What a shim is promised beside the root.
struct Wanted {
    /// The network namespace: made for this container, to be connected, or another's.
    netns: Option<OwnedFd>,
    connect: Option<Connect>,
    /// The container has a hostname, hosts and resolv.conf of its own.
    files: bool,
}

impl Engine {
    /// `POST /containers/{id}/start`: 304 when it runs already.
    pub async fn start(&self, id: &str) -> Result<(), Error> {
        let container = self.inner.containers.find(id)?;
        let engine = self.clone();
        to_the_end(async move { engine.start_by_user(&container).await }).await
    }

    pub(crate) async fn start_by_user(&self, container: &Arc<Container>) -> Result<(), Error> {
        let _verbs = container.verbs.lock().await;
        let (state, _launch) = container.consider(Event::Start).map_err(|why| match why {
            Illegal::Paused => Error::Conflict("cannot start a paused container, try unpause instead".into()),
            Illegal::Removing | Illegal::Dead => {
                Error::Conflict("container is marked for removal and cannot be started".into())
            }
            why => container.refuse(why),
        })?;
        container.publish(|view| view.state = state);
        self.launch(container).await
    }

    /// Makes the sandbox and runs init; records how it went. Only for the holder of `verbs`.
    pub(crate) async fn launch(&self, container: &Arc<Container>) -> Result<(), Error> {
        self.inner.calm.disturb();
        let made = self.make(container).await;
        if made.is_err() || !container.view().record.host.auto_remove {
            self.make_ready();
        } else {
            self.make_ready_after(container.clone());
        }
        let error = match made {
            Ok(events) => {
                let run = container.view().state.starts;
                self.supervise(container.clone(), run, events);
                return Ok(());
            }
            Err(error) => error,
        };
        // Clients that attached see the end of their streams.
        drop(container.take_early());
        let code = if let Error::Start { code, .. } = &error { *code } else { 128 };
        let failed = Event::StartFailed { code, error: error.message() };
        if let Ok((state, effects)) = container.consider(failed) {
            let saved = container.commit(state).await;
            if effects.contains(&Effect::AutoRemove) {
                // The start's own failure is what the user must see; the container is listed as dead if this fails.
                let _ = self.remove_now(container, true).await;
            }
            saved?;
        }
        Err(error)
    }

    /// Makes what the next creates and starts need, now that nobody waits. A failure is theirs to tell.
    pub(super) fn make_ready(&self) {
        self.inner.networks.refill();
        let inner = self.inner.clone();
        if inner.preparing.try_lock().is_err() {
            return;
        }
        aside(move || {
            let Ok(_alone) = inner.preparing.try_lock() else { return };
            let _ = inner.shims.make_ready();
            let _ = inner.store.rw_make_ready();
        });
    }

    /// The same after the start of a container that is removed when it ends. It may end in a millisecond, and somebody wait
    /// for that: then its removal is the time, else some time later.
    fn make_ready_after(&self, container: Arc<Container>) {
        let engine = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(SHORT_LIFE).await;
            if container.view().state.is_alive() {
                engine.make_ready();
            }
        });
    }

    async fn make(&self, container: &Arc<Container>) -> Result<Events, Error> {
        let record = container.view().record.clone();
        let plan = self.plan(&record)?;
        let _layer = container.layer.write().await;
        let mut made = Made::default();
        let result = self.make_with(container, &record, plan, &mut made).await;
        match result {
            Ok(events) => Ok(events),
            Err(error) => Err(self.undo(container, made, error).await),
        }
    }

    async fn undo(&self, container: &Arc<Container>, made: Made, error: Error) -> Error {
        container.set_link(None);
        let mut undone = Vec::new();
        if let Some(link) = made.link {
            undone.extend(link.end().await.err());
        }
        undone.extend(self.unmount_volumes(&made.volumes, container.id.as_str()).await);
        if let Some(sandbox) = made.network {
            undone.extend(self.release(container).await.err());
            for action in ["connect", "disconnect"] {
                for endpoint in &sandbox.endpoints {
                    self.publish(self.member_event(action, endpoint, &container.id));
                }
            }
        }
        Error::first(error, undone)
    }

    async fn make_with(
        &self,
        container: &Arc<Container>,
        record: &Arc<Record>,
        plan: Plan,
        made: &mut Made,
    ) -> Result<Events, Error> {
        let record = &self.with_mounts(container, record, made).await?;
        let mut joined = Joined {
            pid: self.running_pid(&record.host.pid_mode)?,
            ipc: self.running_pid(&record.host.ipc_mode)?,
            user: None,
        };
        let (rw, spawned) = tokio::join!(self.rw_mount(container), self.spawn_shim(container));
        let (link, events) = spawned?;
        made.link = Some(link.clone());
        let rw = rw?;
        // Made for it, to be connected; or another container's, to be joined as it is.
        let mut netns = None;
        if let Some(ids) = &record.ids {
            let of = plan.shares.as_ref().map(|shared| shared.pid).or(joined.ipc).or(joined.pid);
            let user;
            (netns, user) = namespaces(&link, ids, of, plan.connect.is_some()).await?;
            joined.user = Some(user);
        }
        let shared = plan.shares.map(|shared| {
            netns = Some(shared.netns);
            shared.container
        });
        let runtime = self.foreign_runtime(record)?;
        let log = container.log_settings(record).await?;
        let early = container.take_early();
        let (promise, end) = Promise::new().map_err(|e| sys::Error::new("socketpair", "shim", e))?;
        let theirs = shared.as_ref().map(|shared| shared.view());
        let given = Given {
            rw,
            files: shared.as_ref().unwrap_or(container).places.run.clone(),
            hostname: hostname(theirs.as_ref().map_or(record, |view| &view.record)),
            joined,
            runtime,
            log,
            early,
            promise: end,
            netns: plan.connect.is_some() || shared.is_some(),
        };
        // Two threads. One has the shim begin with the cgroups, and makes the root meanwhile; it does both, because a thread that
        // is woken for the root may be put behind the shim on one processor, while the other has nothing to do. The second
        // connects the network and writes the files.
        let begun = {
            let (engine, link) = (self.clone(), link.clone());
            let (container, record) = (container.clone(), record.clone());
            blocking(move || engine.begin(&link, &container, &record, given))
        };
        let wanted = Wanted { netns, connect: plan.connect, files: shared.is_none() };
        let (begun, (sandbox, netns)) =
            tokio::join!(biased; begun, self.connect_and_write(container, record, wanted));
        made.network = sandbox;
        let (called, root) = begun?;
        let kept = netns.map(|netns| {
            let netns = made
                .network
                .as_ref()
                .map(|sandbox| sandbox.netns.as_fd())
                .or(netns.as_ref().map(AsFd::as_fd));
            promise.keep(root.as_ref(), netns);
        });
        let pid = match called.reply().await {
            Ok(Reply::Pid(pid)) => pid,
            // The shim has heard only that there is something missing.
            _ if kept.is_err() => return Err(kept.expect_err("just seen")),
            Ok(other) => return Err(Error::Internal(format!("the shim answered Create with {other:?}"))),
            Err(error) => return Err(error::start(&error)),
        };
        let (endpoints, ports) =
            made.network.as_ref().map(|s| (s.endpoints.clone(), s.ports.clone())).unwrap_or_default();
        let network = Arc::new(Attachment { endpoints, ports });
        let (state, _) = container.consider(Event::Started { pid }).map_err(|why| container.refuse(why))?;
        container.set_link(Some(link));
        container.save_state(state.clone(), network.clone()).await?;
        container.publish(|view| {
            view.state = state;
            view.network = network;
        });
        self.tell_started(container);
        if let Err(error) = self.update_links(container).await {
            tracing::warn!(container = %container.id, "its links: {}", error.message());
        }
        self.monitor(container);
        Ok(events)
    }

    /// The record with its volumes where they are now, mounted where they have to be, and propagations that can be.
    async fn with_mounts(
        &self,
        container: &Container,
        record: &Arc<Record>,
        made: &mut Made,
    ) -> Result<Arc<Record>, Error> {
        if record.mounts.iter().all(|m| m.kind != Kind::Volume && m.propagation.is_empty()) {
            return Ok(record.clone());
        }
        let mut mounts = record.mounts.clone();
        mounts.iter_mut().try_for_each(propagation::check)?;
        made.volumes.clone_from(&mounts);
        self.mount_volumes(&mut mounts, container.id.as_str()).await?;
        Ok(Arc::new(Record { mounts, ..Record::clone(record) }))
    }

    /// Containers that link to this one learn its address. Where nobody has links it costs nothing.
    async fn update_links(&self, container: &Arc<Container>) -> Result<(), Error> {
        if !self.inner.containers.any_linked() {
            return Ok(());
        }
        let (engine, container) = (self.clone(), container.clone());
        blocking(move || engine.tell_linked(&container)).await
    }

    fn tell_started(&self, container: &Arc<Container>) {
        let view = container.view();
        for endpoint in &view.network.endpoints {
            self.publish(self.member_event("connect", endpoint, &container.id));
        }
        for mount in view.record.mounts.iter().filter(|m| m.kind == Kind::Volume) {
            self.volume_event(
                "mount",
                &mount.name,
                &[
                    ("container", container.id.to_string()),
                    ("destination", mount.destination.clone()),
                    ("driver", mount.driver.clone()),
                    ("propagation", mount.propagation.clone()),
                    ("read/write", mount.writable.to_string()),
                ],
            );
        }
        self.publish(container.event("start", &[]));
    }

    /// What the network mode means now. Names are looked up at each start.
    fn plan(&self, record: &Record) -> Result<Plan, Error> {
        match record.network_mode() {
            NetworkMode::Host => Ok(Plan { connect: None, shares: None }),
            NetworkMode::None => Ok(Plan { connect: Some((Vec::new(), Vec::new())), shares: None }),
            NetworkMode::Networks => {
                let endpoints = self.endpoint_requests(record)?;
                let ports =
                    ports::requests(&record.config, &record.host, self.settings().publish_on(&record.host))?;
                Ok(Plan { connect: Some((endpoints, ports)), shares: None })
            }
            NetworkMode::Container(other) => {
                let container = self.inner.containers.find(&other)?;
                let init = container.view().state.init();
                let netns = init.and_then(|pid| Some((pid, sys::netns::of_process(pid).ok()?)));
                let (pid, netns) = netns.ok_or_else(|| {
                    let text = format!("cannot join network namespace of a non running container: {other}");
                    Error::Conflict(text)
                })?;
                Ok(Plan { connect: None, shares: Some(Shared { container, pid, netns }) })
            }
        }
    }

    /// The pid of init of the container that a mode `container:<id>` names; `None` for any other mode.
    fn running_pid(&self, mode: &str) -> Result<Option<i32>, Error> {
        let Some(other) = mode.strip_prefix("container:") else { return Ok(None) };
        let state = self.inner.containers.find(other)?.view().state.clone();
        match state.phase {
            Phase::Running | Phase::Paused => Ok(Some(state.pid)),
            Phase::Restarting => Err(Error::Conflict(format!(
                "Container {other} is restarting, wait until the container is running"
            ))),
            Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => {
                Err(Error::Conflict(format!("container {other} is not running")))
            }
        }
    }

    /// Blocking.
    fn connect(
        &self,
        container: &Container,
        netns: Option<OwnedFd>,
        (endpoints, ports): &Connect,
    ) -> Result<Sandbox, Error> {
        let sandbox = self.inner.networks.connect_in(netns, &container.id, endpoints, ports)?;
        let servers = self.settings().resolver(&container.view().record.host)[0].to_vec();
        if !servers.is_empty() {
            self.inner.networks.set_name_servers(&container.id, &servers);
        }
        Ok(sandbox)
    }

    async fn rw_mount(&self, container: &Arc<Container>) -> Result<store::RwMount, Error> {
        let (inner, id) = (self.inner.clone(), container.id.clone());
        Ok(blocking(move || inner.store.rw_mount(id.as_str())).await?)
    }

    async fn spawn_shim(&self, container: &Arc<Container>) -> Result<(Arc<Link>, Events), Error> {
        if let Some(leaving) = container.leaving.lock().await.take() {
            // After that time both have it mounted: the kernel warns, and nobody writes through the old one any more.
            let _ = tokio::time::timeout(LEAVING, leaving).await;
        }
        let (inner, id) = (self.inner.clone(), container.id.clone());
        let Shim { connection, watch, spawned } = blocking(move || inner.shims.get(&id)).await?;
        // One without a connection ends by itself.
        let events = Events::new(watch)?;
        let link = Link::new(connection, Some(spawned), self.inner.shims.directory(&container.id))?;
        Ok((link, events))
    }

    /// The runtime that is not our own, as it is configured now.
    pub(super) fn foreign_runtime(&self, record: &Record) -> Result<Option<Foreign>, Error> {
        let settings = self.settings();
        let runtime = settings.runtime(record.host.runtime.as_deref().unwrap_or_default())?;
        Ok(runtime.map(|runtime| Foreign {
            path: runtime.path.clone().into(),
            arguments: runtime.runtime_args.clone(),
            init: self.inner.config.shim.clone(),
        }))
    }

    /// Has the shim begin, and makes the root meanwhile. Blocking.
    fn begin(
        &self,
        link: &Link,
        container: &Container,
        record: &Record,
        given: Given,
    ) -> Result<(Called, Option<Mount>), Error> {
        let (spec, filter, root) = self.prepare(container, record, &given)?;
        let Given { runtime, log, early, promise, netns, .. } = given;
        let copy =
            |file: &Arc<OwnedFd>| file.try_clone().map_err(|e| sys::Error::new("dup", "the filter", e));
        let filter = filter.as_ref().map(copy).transpose()?;
        let create = Create {
            dir: Some(self.inner.shims.directory(&container.id)),
            spec,
            netns,
            filter: filter.is_some(),
            promise: true,
            log,
            open_stdin: record.config.open_stdin,
            stdin_once: record.config.stdin_once,
            attach: early.iter().map(|e| e.attach).collect(),
            start: true,
            reaper: record.host.resources.init == Some(true),
            runtime,
            cgroups: self.inner.config.cgroups,
            exit_file: container.places.records.join("exit.json"),
        };
        let sockets = early.into_iter().map(|e| e.socket);
        let fds: Vec<OwnedFd> = filter.into_iter().chain([promise]).chain(sockets).collect();
        let called = link.begin(&Request::Create(Box::new(create)), &fds);
        let called = called.map_err(|error| error::start(&error))?;
        drop(fds);
        // When it cannot be made, init says why.
        Ok((called, root.and_then(|root| root.make().ok())))
    }

    /// The configuration, its seccomp filter if that goes along compiled, and its root if that can be made before the
    /// container. Blocking.
    fn prepare(&self, container: &Container, record: &Record, given: &Given) -> Result<Configured, Error> {
        self.check_sources(record)?;
        // An old record must not be taken for this run's.
        sys::file::remove(&container.places.records.join("exit.json"))?;
        let image =
            |layer: &String| -> Result<_, Error> { Ok((layer.clone(), self.inner.store.rw_mount(layer)?)) };
        let ours = given.runtime.is_none();
        let host = oci::Host {
            rw: &given.rw,
            images: record.layers().iter().skip(1).map(image).collect::<Result<_, _>>()?,
            files: &given.files,
            secrets: super::secrets::binds(&container.places.records, &record.secrets),
            cgroup: cgroup::named(record, &self.inner.config),
            hostname: &given.hostname,
            pid_of: given.joined.pid,
            ipc_of: given.joined.ipc,
            user_of: given.joined.user,
            devices: super::devices::wanted(&record.host)?,
            throttles: super::devices::throttles(&record.host.resources)?,
            swap_limit: crate::system::swap_limit(),
            masked: super::devices::thermal_throttle_paths(),
            kernel: super::seccomp::kernel(&crate::system::kernel()).unwrap_or_default(),
            compiled: ours,
        };
        let (mut spec, filter) = oci::spec(record, &host)?;
        idmap::apply(record, &mut spec)?;
        self.inject_devices(&record.host, &mut spec)?;
        if spec.process.as_ref().is_some_and(|p| p.apparmor_profile == apparmor::DEFAULT) {
            apparmor::load_default(&self.inner.config.exec_root)?;
        }
        let root = EarlyRoot::of(&spec).filter(|_| ours);
        Ok((spec, filter, root))
    }

    /// Connects the network, and writes the files that tell of it. The sandbox, also when something else fails; and the namespace
    /// if it is another's.
    async fn connect_and_write(
        &self,
        container: &Arc<Container>,
        record: &Arc<Record>,
        wanted: Wanted,
    ) -> (Option<Sandbox>, Result<Option<OwnedFd>, Error>) {
        let Wanted { netns, connect, files } = wanted;
        let (engine, container, record) = (self.clone(), container.clone(), record.clone());
        blocking(move || {
            let (mut sandbox, mut joined) = (None, None);
            let done = (|| {
                match connect {
                    Some(connect) => sandbox = Some(engine.connect(&container, netns, &connect)?),
                    None => joined = netns,
                }
                let endpoints = sandbox.as_ref().map_or(&[][..], |sandbox| &sandbox.endpoints);
                if files { engine.write_files(&container, &record, endpoints) } else { Ok(()) }
            })();
            (sandbox, done.map(|()| joined))
        })
        .await
    }

    /// The container's hostname, hosts and resolv.conf. Blocking.
    fn write_files(
        &self,
        container: &Container,
        record: &Record,
        endpoints: &[Endpoint],
    ) -> Result<(), Error> {
        let run = &container.places.run;
        let hostname = &hostname(record);
        sys::file::create_dir_all(run, 0o700)?;
        let settings = self.settings();
        let bridge = || self.inner.networks.find("bridge").ok().and_then(|n| n.gateway(true));
        let gateway = settings.host_gateway.first().copied().or_else(bridge);
        if record.network_mode() == NetworkMode::Host {
            let read = |path: &str| -> Result<String, Error> {
                let bytes = sys::file::read_if_exists(Path::new(path))?.unwrap_or_default();
                Ok(String::from_utf8_lossy(&bytes).into_owned())
            };
            // As Docker does it: with names of its own it gets none of the host's.
            let hosts = if record.host.extra_hosts.is_empty() {
                read("/etc/hosts")?
            } else {
                files::hosts(record, hostname, &[], gateway, "")?
            };
            return files::write(run, hostname, &hosts, &read("/etc/resolv.conf")?);
        }
        let hosts = files::hosts(record, hostname, endpoints, gateway, &self.linked_hosts(record)?)?;
        files::write(run, hostname, &hosts, &self.resolv_conf(record)?)
    }

    /// Sources of bind mounts may have gone since the create.
    fn check_sources(&self, record: &Record) -> Result<(), Error> {
        for mount in record.mounts.iter().filter(|m| m.kind == Kind::Bind) {
            super::create::bind_source(mount)?;
        }
        Ok(())
    }
}

/// The user namespace of a container with ids of its own, by a pid in it, and the network namespace in which it is to be
/// connected: one that belongs to the user namespace, so that the container's root has its capabilities there. `of`: a
/// container whose namespaces it shares.
async fn namespaces(
    link: &Arc<Link>,
    ids: &Ids,
    of: Option<i32>,
    own_network: bool,
) -> Result<(Option<OwnedFd>, i32), Error> {
    let wanted = match of {
        Some(pid) if !own_network => return Ok((None, pid)),
        Some(pid) => shim::proto::Ids::Of { pid },
        None => shim::proto::Ids::Own { uids: ids.uids.clone(), gids: ids.gids.clone() },
    };
    let pid = match link.call(Request::Namespaces(Box::new(wanted)), Vec::new()).await {
        Ok(Reply::Pid(pid)) => pid,
        Ok(other) => return Err(Error::Internal(format!("the shim answered Namespaces with {other:?}"))),
        Err(error) => return Err(error::start(&error)),
    };
    let netns = sys::file::open(Path::new(&format!("/proc/{pid}/ns/net")))?;
    Ok((Some(netns.into()), pid))
}

impl Container {
    /// The clients that wait for the start.
    pub(crate) fn take_early(&self) -> Vec<super::EarlyClient> {
        std::mem::take(&mut *self.early.lock().expect("no holder of this lock can panic"))
    }
}

/// The name the container sees as its own. On the host's network it is the host's.
pub(crate) fn hostname(record: &Record) -> String {
    if !record.config.hostname.is_empty() {
        return record.config.hostname.clone();
    }
    let shares_uts = record.host.uts_mode == "host" || record.network_mode() == NetworkMode::Host;
    if shares_uts { crate::system::hostname() } else { record.id.short().to_owned() }
}
