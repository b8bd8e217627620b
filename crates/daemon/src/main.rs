//! `cortend`: the command line, signals, and the order of starting and stopping.

use std::process::ExitCode;

use clap::Parser;
use daemon::config::{Cli, Command, Options, RegistryCommand, RegistryOptions};
use daemon::error::chain;
use daemon::{api::Api, listen::Listener, lock::Lock, registry, server};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::EnvFilter;

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match &cli.command {
        Some(Command::Registry { command: RegistryCommand::Serve(options) }) if options.debug => "debug",
        Some(Command::Registry { .. }) => "info",
        None if cli.daemon.debug => "debug",
        None if cli.daemon.log_level == "fatal" => "error",
        None => &cli.daemon.log_level,
    };
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("cortend")
        .thread_stack_size(1 << 20)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(async {
            match cli.command {
                Some(Command::Registry { command: RegistryCommand::Serve(options) }) => {
                    serve_registry(options).await
                }
                None => serve_engine(cli.daemon).await,
            }
        }),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn serve_registry(options: RegistryOptions) -> Outcome {
    let stop = stop_signal()?;
    registry::serve(options, async move {
        let mut stop = stop;
        // A sender that is gone means that the program is ending too.
        let _ = stop.wait_for(|stop| *stop).await;
    })
    .await?;
    Ok(())
}

/// Data root, lock, sockets, engine, then clients. Containers live on when it ends.
async fn serve_engine(options: Options) -> Outcome {
    let stop = stop_signal()?;
    sys::file::create_dir_all(&options.data_root, 0o700)?;
    sys::file::create_dir_all(&options.exec_root, 0o711)?;
    let lock = Lock::acquire(&options.data_root)?;
    // What a daemon that was killed left half-received.
    sys::file::remove_tree(&options.scratch())?;
    sys::file::create_dir_all(&options.scratch(), 0o700)?;

    let mut listeners = Vec::new();
    for host in options.listeners() {
        listeners.push((Listener::bind(&host, &options.group).await?, host));
    }
    let engine = engine::Engine::open(options.engine()).await?;
    if let Some(path) = &options.pidfile {
        let pid = format!("{}\n", std::process::id());
        sys::file::write_atomic(path, pid.as_bytes(), 0o644, sys::file::Durability::Process)?;
    }
    let api = Api::new(engine, options.scratch());
    if let Err(error) = api.recover().await {
        tracing::warn!(error = error.message(), "what interrupted builds had left is still there");
    }
    for (_, host) in &listeners {
        tracing::info!(%host, version = env!("CARGO_PKG_VERSION"), "ready");
    }
    let listeners = listeners.into_iter().map(|(listener, _)| listener).collect();
    server::serve(listeners, api, stop).await;
    if let Some(path) = &options.pidfile {
        sys::file::remove(path)?;
    }
    drop(lock);
    tracing::info!("stopped; containers go on");
    Ok(())
}

/// Becomes true at SIGTERM or SIGINT. SIGHUP is ignored.
fn stop_signal() -> std::io::Result<watch::Receiver<bool>> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => tracing::info!("SIGHUP: nothing to reload"),
            }
        }
        stop.send_replace(true);
    });
    Ok(stopped)
}
