//! `cortend`: the command line, signals, and the order of starting and stopping.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use daemon::activation::Inherited;
use daemon::config::{Cli, Command, Options, RegistryCommand, Source};
use daemon::error::chain;
use daemon::listen::{Listener, Setup};
use daemon::metrics::{Metrics, Times};
use daemon::notify::Manager;
use daemon::reload::Current;
use daemon::{api::Api, lock::Lock, log, registry, server};
use engine::Engine;
use spec::oci::runtime::CgroupDriver;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Registry { command }) => registry_command(command),
        None => {
            let options = match cli.daemon.read() {
                Ok(options) => options,
                Err(error) => return say(&chain(&error), ExitCode::FAILURE),
            };
            if cli.daemon.validate {
                return say("configuration OK", ExitCode::SUCCESS);
            }
            log::start(options.log);
            sys::memory::limit_arenas(2);
            run(serve_engine(cli.daemon, options))
        }
    }
}

/// A thread for blocking work ends after so long without any: a burst leaves fifty, 40 KB each.
const IDLE: Duration = Duration::from_secs(5);

/// Something that is no log line, on stderr.
fn say(text: &str, code: ExitCode) -> ExitCode {
    // Nobody may be there to read it.
    let _ = writeln!(std::io::stderr(), "{text}");
    code
}

fn run(work: impl Future<Output = Outcome>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_keep_alive(IDLE)
        .thread_name("cortend")
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(error.into()),
    };
    // With the runtime all that could begin a call has ended.
    engine::blocking::finish();
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn registry_command(command: RegistryCommand) -> ExitCode {
    let debug = matches!(&command, RegistryCommand::Serve(options) if options.debug);
    log::start(log::Options::new(debug, "", "").expect("both are words of ours"));
    match command {
        RegistryCommand::Serve(options) => match options.config() {
            Ok(_) if options.validate => say("configuration OK", ExitCode::SUCCESS),
            Ok(config) => run(serve_registry(config)),
            Err(error) => say(&chain(error.as_ref()), ExitCode::FAILURE),
        },
        RegistryCommand::Ask => run(async { daemon::ask::ask().await.map_err(Into::into) }),
        RegistryCommand::Gc { store, dry_run } => {
            run(async move { print(&registry::gc(&store, dry_run).await?) })
        }
        RegistryCommand::Check { store } => run(async move {
            let damages = registry::check(&store).await?;
            print(&damages)?;
            if damages.is_empty() { Ok(()) } else { Err("some content is damaged".into()) }
        }),
    }
}

fn print(lines: &[String]) -> Outcome {
    let mut out = std::io::stdout().lock();
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

async fn serve_registry(config: ::registry::server::Config) -> Outcome {
    let stop = stop_signal()?;
    let (mut hangup, mut user) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
    let control = ::registry::server::Control::default();
    let told = control.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = hangup.recv() => told.reload.notify_one(),
                _ = user.recv() => told.collect.notify_one(),
            }
        }
    });
    registry::serve(config, control, async move {
        let mut stop = stop;
        // A sender that is gone means that the program is ending too.
        let _ = stop.wait_for(|stop| *stop).await;
    })
    .await
}

/// Data root, lock, sockets, engine, then clients. Containers live on when it ends.
async fn serve_engine(source: Source, options: Options) -> Outcome {
    let stop = stop_signal()?;
    let (hangup, user) = (signal(SignalKind::hangup())?, signal(SignalKind::user_defined1())?);
    let manager = Manager::from_env();
    for warning in &options.warnings {
        tracing::warn!("{warning}");
    }
    if let Err(error) = sys::process::raise_descriptor_limit() {
        tracing::warn!(error = chain(&error), "the limit of descriptors stays as it is");
    }
    if let Err(error) = sys::process::keep_low_descriptors() {
        tracing::warn!(error = chain(&error), "starts will become slower with the number of containers");
    }
    sys::file::create_dir_all(&options.engine.data_root, 0o700)?;
    sys::file::create_dir_all(&options.engine.exec_root, 0o711)?;
    let lock = Lock::acquire(&options.engine.data_root)?;
    // What a daemon that was killed left half-received.
    sys::file::remove_tree(&options.scratch())?;
    sys::file::create_dir_all(&options.scratch(), 0o700)?;

    let setup = Setup {
        group: options.group.clone(),
        tls: options.tls.as_ref().map(daemon::tls::Files::load).transpose()?,
        inherited: Inherited::from_env(),
    };
    let mut listeners = Vec::new();
    for host in &options.hosts {
        listeners.extend(Listener::bind(host, &setup).await?);
    }
    let metrics = match options.metrics {
        Some(address) => vec![Listener::plain(address).await?],
        None => Vec::new(),
    };
    let engine = Engine::open(options.engine.clone()).await?;
    if let Some(path) = &options.pidfile {
        let pid = format!("{}\n", std::process::id());
        sys::file::write_atomic(path, pid.as_bytes(), 0o644, sys::file::Durability::Process)?;
    }
    let times = Times::default();
    let api = Api::new(engine.clone(), options.scratch(), options.oldest_api, times.clone());
    if let Err(error) = api.recover().await {
        tracing::warn!(error = error.message(), "what interrupted builds had left is still there");
    }
    for host in &options.hosts {
        tracing::info!(%host, version = env!("CARGO_PKG_VERSION"), "ready");
    }
    let pidfile = options.pidfile.clone();
    let (cgroups, cgroup_parent) = (options.engine.cgroups, options.engine.cgroup_parent.clone());
    let current = Current::new(source, options);
    manager.ready("Serving");
    let patience = current.clone();
    let collector = api.clone();
    let serving = server::serve(listeners, api, stop.clone(), move || patience.patience());
    let counting =
        server::serve(metrics, Metrics::new(engine.clone(), times), stop.clone(), || Some(Duration::ZERO));
    let besides = async {
        let signals = answer_signals(hangup, user, &current, &engine, &manager);
        tokio::join!(manager.watchdog(), signals, collector.keep_space(), collector.give_memory_back())
    };
    tokio::select! {
        ((), (), ()) = async { tokio::join!(serving, counting, tell_stopping(&manager, stop)) } => {}
        _ = besides => unreachable!("signals are answered for ever"),
    }
    engine.finish_removals().await;
    if let Some(path) = &pidfile {
        sys::file::remove(path)?;
    }
    if cgroups == CgroupDriver::Cgroupfs {
        leave_cgroup(&cgroup_parent);
    }
    drop(lock);
    tracing::info!("stopped; containers go on");
    Ok(())
}

/// SIGHUP reads the configuration again, SIGUSR1 says what there is to do. For ever.
async fn answer_signals(
    mut hangup: Signal,
    mut user: Signal,
    current: &Current,
    engine: &Engine,
    manager: &Manager,
) {
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                manager.reloading();
                match current.reload(engine) {
                    Ok(()) => tracing::info!("configuration reloaded"),
                    Err(error) => tracing::error!("the configuration is as it was: {}", chain(&error)),
                }
                manager.ready("Serving");
            }
            _ = user.recv() => {
                let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
                tracing::info!(tasks, "alive");
            }
        }
    }
}

async fn tell_stopping(manager: &Manager, mut stop: watch::Receiver<bool>) {
    // A sender that is gone means that the daemon is ending too.
    let _ = stop.wait_for(|stop| *stop).await;
    manager.stopping();
}

/// The containers' parent cgroup goes when it is empty: the kernel refuses as long as it is not.
fn leave_cgroup(parent: &str) {
    let Ok(cgroup) = sys::cgroup::Cgroup::open(parent) else { return };
    for (_, directory, _) in cgroup.directories() {
        let _ = std::fs::remove_dir(Path::new(directory));
    }
}

/// Becomes true at SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        for times in 1.. {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if times > 1 {
                tracing::warn!("told to stop again: requests in flight are cut off");
                std::process::exit(1);
            }
            stop.send_replace(true);
        }
    });
    Ok(stopped)
}
