//! Execs: further processes in a running container. Configured first, started once, inspected until some minutes after
//! their end.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use shim::proto::{Attach, Exec as Start, Exit, Reply, Request};
use spec::Id;
use spec::api::{ExecConfig, ExecInspect, ExecStart, ProcessConfig};
use spec::oci::runtime as oci;
use tokio::net::UnixStream;
use tokio::sync::watch;

use super::attach::{Attached, DetachKeys, OnDetach, pair};
use super::state::Phase;
use super::{Container, config, has_ended, oci as container_oci, security, start};
use crate::blocking::to_the_end;
use crate::{Engine, Error, error, time};

/// Docker's exit code of an exec whose program was not executed, unless there is none (127).
const NOT_STARTED: i32 = 126;
/// How long a finished exec can be inspected.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// How many execs of one container may be configured or running at once.
const AT_ONCE: usize = 1024;
/// How long an inspect waits for the news of an end that the shim has seen already.
const NEWS: Duration = Duration::from_secs(5);
/// How long a resize waits for the start.
const RESIZE: Duration = Duration::from_secs(10);

/// Where an exec is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    /// Configured.
    New,
    /// Being started.
    Starting,
    /// With this pid.
    Running(i32),
    /// Ended with this code, then (nanoseconds).
    Ended { code: i32, at: u64 },
}

#[derive(Debug)]
pub(super) struct Exec {
    id: String,
    container: Arc<Container>,
    config: ExecConfig,
    created_at: u64,
    life: watch::Sender<Life>,
}

/// All execs by id.
#[derive(Debug, Default)]
pub(crate) struct Execs {
    all: Mutex<HashMap<String, Arc<Exec>>>,
}

impl Execs {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Exec>>> {
        self.all.lock().expect("no holder of this lock can panic")
    }

    fn find(&self, id: &str) -> Result<Arc<Exec>, Error> {
        self.lock().get(id).cloned().ok_or_else(|| Error::NoSuchExec(id.to_owned()))
    }

    /// Adds one; those that ended long ago, or were never started, go.
    fn add(&self, exec: Arc<Exec>) -> Result<(), Error> {
        let mut all = self.lock();
        let now = time::now();
        let old = |at: u64| time::since(at, now) > KEPT;
        all.retain(|_, exec| match *exec.life.borrow() {
            Life::New => !old(exec.created_at),
            Life::Starting | Life::Running(_) => true,
            Life::Ended { at, .. } => !old(at),
        });
        // Those that have ended are kept for a look, not counted: a busy health check must not shut users out.
        let live = |e: &&Arc<Exec>| {
            e.container.id == exec.container.id && !matches!(*e.life.borrow(), Life::Ended { .. })
        };
        if all.values().filter(live).count() >= AT_ONCE {
            return Err(Error::Conflict(format!("container {} has {AT_ONCE} execs", exec.container.id)));
        }
        all.insert(exec.id.clone(), exec);
        Ok(())
    }

    /// The ids of those that run in a container.
    pub(crate) fn of(&self, container: &Id) -> Vec<String> {
        let all = self.lock();
        let running = all.values().filter(|e| e.container.id == *container);
        running.filter(|e| matches!(*e.life.borrow(), Life::Running(_))).map(|e| e.id.clone()).collect()
    }

    /// The container's init has ended, and the kernel has killed the rest of its pid namespace.
    pub(crate) fn container_ended(&self, container: &Id) {
        for exec in self.lock().values().filter(|e| e.container.id == *container) {
            exec.end(128 + spec::signal::KILL, time::now());
        }
    }

    /// The container is removed.
    pub(crate) fn forget(&self, container: &Id) {
        self.lock().retain(|_, exec| exec.container.id != *container);
    }
}

impl Exec {
    fn end(&self, code: i32, at: u64) {
        self.life.send_if_modified(|life| match life {
            Life::Starting | Life::Running(_) => {
                *life = Life::Ended { code, at };
                true
            }
            Life::New | Life::Ended { .. } => false,
        });
    }

    /// Waits for its end; the exit code.
    pub(super) async fn ended(&self) -> i32 {
        let mut life = self.life.subscribe();
        let ended = life.wait_for(|life| matches!(life, Life::Ended { .. })).await;
        match ended.as_deref() {
            Ok(Life::Ended { code, .. }) => *code,
            // Its sender is `self`'s own, which is here.
            Ok(Life::New | Life::Starting | Life::Running(_)) | Err(_) => 128 + spec::signal::KILL,
        }
    }

    /// SIGKILL. One that has ended, or whose shim has, needs none.
    pub(super) async fn kill(&self) {
        let Some(link) = self.container.link() else { return };
        let kill = Request::Kill { signal: spec::signal::KILL, exec: Some(self.id.clone()), all: false };
        let _ = link.call(kill, Vec::new()).await;
    }

    /// The program, a space, and its arguments: also without any, as Docker's listeners know it.
    fn words(&self) -> String {
        format!("{} {}", self.config.cmd[0], self.config.cmd[1..].join(" "))
    }

    fn tell(&self, engine: &Engine, action: &str, extra: &[(&str, String)]) {
        let mut attributes = vec![("execID", self.id.clone())];
        attributes.extend(extra.iter().cloned());
        engine.publish(self.container.event(action, &attributes));
    }
}

/// An exec that is about to be started. Its client is answered first, so that the answer's head comes alone: docker-py
/// loses what is read together with it.
#[derive(Debug)]
pub struct ExecStarting {
    engine: Engine,
    exec: Arc<Exec>,
    start: ExecStart,
}

impl ExecStarting {
    /// Whether it gets a terminal.
    pub fn tty(&self) -> bool {
        self.exec.config.tty || self.start.tty
    }

    /// Starts it: `None` when detached.
    ///
    /// # Errors
    /// Its program cannot be executed; the exec has ended then, with 126 or 127.
    pub async fn run(self) -> Result<Option<Attached>, Error> {
        self.engine.inner.calm.disturb();
        to_the_end(async move { self.engine.exec_run(&self.exec, &self.start).await }).await
    }
}

impl Drop for ExecStarting {
    /// A client that went before its program was started leaves an exec that has failed.
    fn drop(&mut self) {
        if *self.exec.life.borrow() == Life::Starting {
            self.exec.end(NOT_STARTED, time::now());
        }
    }
}

/// Whether a container can take an exec now. `called`: what the client called it.
fn ready(container: &Container, called: &str) -> Result<(), Error> {
    let id = &container.id;
    match container.view().state.phase {
        Phase::Running => Ok(()),
        Phase::Paused => {
            Err(Error::Conflict(format!("Container {called} is paused, unpause the container before exec")))
        }
        Phase::Restarting => {
            Err(Error::Conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        Phase::Created | Phase::Exited | Phase::Removing | Phase::Dead => Err(container.not_running()),
    }
}

impl Engine {
    /// `POST /containers/{id}/exec`: the new exec's id.
    pub async fn exec_create(&self, id: &str, config: ExecConfig) -> Result<String, Error> {
        let container = self.inner.containers.find(id)?;
        ready(&container, id)?;
        if config.cmd.is_empty() {
            return Err(Error::Invalid("No exec command specified".into()));
        }
        if !config.working_dir.is_empty() && !config.working_dir.starts_with('/') {
            return Err(Error::Invalid(format!("Cwd must be an absolute path: {:?}", config.working_dir)));
        }
        DetachKeys::parse(&config.detach_keys)?;
        let exec = self.exec_new(&container, config, Life::New)?;
        Ok(exec.id.clone())
    }

    fn exec_new(
        &self,
        container: &Arc<Container>,
        config: ExecConfig,
        life: Life,
    ) -> Result<Arc<Exec>, Error> {
        let exec = Arc::new(Exec {
            id: spec::digest::hex(&sys::random::bytes::<32>()),
            container: container.clone(),
            config,
            created_at: time::now(),
            life: watch::Sender::new(life),
        });
        self.inner.execs.add(exec.clone())?;
        exec.tell(self, &format!("exec_create: {}", exec.words()), &[]);
        Ok(exec)
    }

    /// `POST /exec/{id}/start`: it may be started, and nobody else may start it now.
    pub fn exec_start(&self, exec: &str, start: ExecStart) -> Result<ExecStarting, Error> {
        let exec = self.inner.execs.find(exec)?;
        ready(&exec.container, exec.container.id.as_str())?;
        let mut refused = None;
        exec.life.send_if_modified(|life| match life {
            Life::New => {
                *life = Life::Starting;
                true
            }
            Life::Starting | Life::Running(_) => {
                refused = Some("is already running");
                false
            }
            Life::Ended { .. } => {
                refused = Some("has already run");
                false
            }
        });
        if let Some(why) = refused {
            return Err(Error::Conflict(format!("exec command {} {why}", exec.id)));
        }
        Ok(ExecStarting { engine: self.clone(), exec, start })
    }

    async fn exec_run(&self, exec: &Arc<Exec>, start: &ExecStart) -> Result<Option<Attached>, Error> {
        let config = &exec.config;
        let tty = config.tty || start.tty;
        let attach = (!start.detach).then_some(Attach {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
            framed: !tty,
        });
        let detach_keys =
            if tty && config.attach_stdin { DetachKeys::parse(&config.detach_keys)? } else { Vec::new() };
        let socket = self.exec_launch(exec, tty, start.console_size, attach).await?;
        let stdin = config.attach_stdin;
        let told = Some(OnDetach {
            engine: self.clone(),
            container: exec.container.clone(),
            exec: Some(exec.id.clone()),
        });
        Ok(socket.map(|socket| Attached {
            socket: Some(socket),
            replay: None,
            tty,
            detach_keys,
            stdin,
            on_detach: told,
        }))
    }

    /// Runs the program of an exec in the phase `Starting`; the client's end of its streams, if `attach` asks for one.
    async fn exec_launch(
        &self,
        exec: &Arc<Exec>,
        tty: bool,
        size: Option<[u16; 2]>,
        attach: Option<Attach>,
    ) -> Result<Option<UnixStream>, Error> {
        // Before the start, as in Docker: the end of a short program is told after it.
        exec.tell(self, &format!("exec_start: {}", exec.words()), &[]);
        let result = async {
            let process = process(&exec.container, &exec.config, tty, size)?;
            let (ours, theirs) = match attach {
                Some(_) => pair().map(|(ours, theirs)| (Some(ours), vec![theirs]))?,
                None => (None, Vec::new()),
            };
            let request = Request::Exec(Box::new(Start { id: exec.id.clone(), process, attach }));
            let link = exec.container.running_link()?;
            match link.call(request, theirs).await {
                Ok(Reply::Pid(pid)) => Ok((pid, ours)),
                Ok(other) => Err(Error::Internal(format!("the shim answered Exec with {other:?}"))),
                Err(error) if has_ended(&error) => Err(exec.container.not_running()),
                Err(error) => Err(exec_failed(&error)),
            }
        }
        .await;
        let (pid, ours) = match result {
            Ok(started) => started,
            Err(error) => {
                // Docker records 126 for a start that failed without a better code.
                let code = if let Error::Exec { code: 127, .. } = error { 127 } else { NOT_STARTED };
                exec.end(code, time::now());
                return Err(error);
            }
        };
        // A short program may have ended before this line: its end is not overwritten.
        exec.life.send_if_modified(|life| {
            let starting = *life == Life::Starting;
            if starting {
                *life = Life::Running(pid);
            }
            starting
        });
        Ok(ours)
    }

    /// Runs a health probe's program: the exec, and its output (both streams, unframed). The caller forgets it.
    pub(super) async fn exec_probe(
        &self,
        container: &Arc<Container>,
        command: &[String],
    ) -> Result<(Arc<Exec>, UnixStream), Error> {
        ready(container, container.id.as_str())?;
        let config = ExecConfig {
            cmd: command.to_vec(),
            attach_stdout: true,
            attach_stderr: true,
            ..ExecConfig::default()
        };
        let exec = self.exec_new(container, config, Life::Starting)?;
        let wanted = Attach { stdin: false, stdout: true, stderr: true, framed: false };
        match self.exec_launch(&exec, false, None, Some(wanted)).await {
            Ok(socket) => Ok((exec, socket.expect("a client was asked for"))),
            Err(error) => {
                self.exec_forget(&exec);
                Err(error)
            }
        }
    }

    /// Nobody will ask for this exec again.
    pub(super) fn exec_forget(&self, exec: &Exec) {
        self.inner.execs.lock().remove(&exec.id);
    }

    /// The shim says that an exec has ended.
    pub(crate) fn exec_ended(&self, id: &str, exit: &Exit) {
        let Ok(exec) = self.inner.execs.find(id) else { return };
        exec.end(exit.code, exit.finished_at);
        exec.tell(self, "exec_die", &[("exitCode", exit.code.to_string())]);
    }

    /// `GET /exec/{id}/json`.
    pub async fn exec_inspect(&self, exec: &str) -> Result<ExecInspect, Error> {
        let exec = self.inner.execs.find(exec)?;
        self.hear_of_end(&exec).await;
        let life = *exec.life.borrow();
        let config = &exec.config;
        let (pid, exit_code) = match life {
            Life::New | Life::Starting => (0, None),
            Life::Running(pid) => (pid, None),
            Life::Ended { code, .. } => (0, Some(i64::from(code))),
        };
        Ok(ExecInspect {
            id: exec.id.clone(),
            running: matches!(life, Life::Starting | Life::Running(_)),
            exit_code,
            process_config: ProcessConfig {
                privileged: config.privileged,
                user: config.user.clone(),
                tty: config.tty,
                entrypoint: config.cmd[0].clone(),
                arguments: config.cmd[1..].to_vec(),
            },
            open_stdin: config.attach_stdin,
            open_stderr: config.attach_stderr,
            open_stdout: config.attach_stdout,
            can_remove: false,
            container_id: exec.container.id.to_string(),
            detach_keys: config.detach_keys.clone(),
            pid: pid.into(),
        })
    }

    /// A client that has read an exec's last byte inspects at once, and must not be told that it still runs: when the
    /// shim no longer has it, the news of its end is on the way, and is waited for.
    async fn hear_of_end(&self, exec: &Arc<Exec>) {
        if !matches!(*exec.life.borrow(), Life::Running(_)) {
            return;
        }
        let Some(link) = exec.container.link() else { return };
        if let Ok(Reply::Status(status)) = link.call(Request::Status, Vec::new()).await
            && !status.execs.contains(&exec.id)
        {
            let mut life = exec.life.subscribe();
            let ended = life.wait_for(|life| matches!(life, Life::Ended { .. }));
            // Not heard of in time: the answer is the old one.
            let _ = tokio::time::timeout(NEWS, ended).await;
        }
    }

    /// `POST /exec/{id}/resize`: waits some time for the start.
    pub async fn exec_resize(&self, exec: &str, height: u16, width: u16) -> Result<(), Error> {
        let exec = self.inner.execs.find(exec)?;
        let mut life = exec.life.subscribe();
        let started = life.wait_for(|life| matches!(life, Life::Running(_) | Life::Ended { .. }));
        let timeout = || Error::Deadline(format!("timeout waiting for exec {} to start", exec.id));
        let not_running = || Error::Conflict(format!("exec process {} is not running", exec.id));
        let life = tokio::time::timeout(RESIZE, started).await.map_err(|_| timeout())?;
        if !life.is_ok_and(|life| matches!(*life, Life::Running(_))) {
            return Err(not_running());
        }
        let link = exec.container.running_link()?;
        let request = Request::Resize { exec: Some(exec.id.clone()), height, width };
        match link.call(request, Vec::new()).await {
            Ok(_) => Ok(()),
            Err(error) if has_ended(&error) => Err(not_running()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What to run: the container's user, environment and directory, unless the request says otherwise.
fn process(
    container: &Container,
    wanted: &ExecConfig,
    tty: bool,
    size: Option<[u16; 2]>,
) -> Result<oci::Process, Error> {
    let record = container.view().record.clone();
    let mut host = record.host.clone();
    host.privileged = wanted.privileged || host.privileged;
    let security = security::read(&host.security_opt)?;
    let capabilities = security::capabilities(&host)?;
    let mut env = config::environment(&record.config, &start::hostname(&record));
    if tty && !env.iter().any(|v| v.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    config::overlay(&mut env, &wanted.env);
    let cwd = [&wanted.working_dir, &record.config.working_dir].into_iter().find(|d| !d.is_empty());
    let user = if wanted.user.is_empty() { &record.config.user } else { &wanted.user };
    let size = size.or(wanted.console_size).filter(|[h, w]| tty && *h > 0 && *w > 0);
    Ok(oci::Process {
        terminal: tty,
        console_size: size.map(|[height, width]| oci::ConsoleSize { height, width }),
        user: container_oci::user(user, &host.group_add),
        args: wanted.cmd.clone(),
        env,
        cwd: cwd.map_or("/", String::as_str).to_owned(),
        capabilities: Some(spec::defaults::oci::capability_sets(&capabilities)),
        no_new_privileges: security.no_new_privileges,
        apparmor_profile: security.apparmor(host.privileged),
        selinux_label: container_oci::process_label(&record),
        ..oci::Process::default()
    })
}

/// As [`error::start`], under the words for an exec.
fn exec_failed(failed: &shim::client::Error) -> Error {
    match failed {
        shim::client::Error::Failed(failure) => {
            let (text, code) = error::failure_text("OCI runtime exec failed: ", failure);
            Error::Exec { text, code }
        }
        other => Error::Internal(error::chain(other)),
    }
}
