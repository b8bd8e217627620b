//! The runtime as a command, for those who drive runc: containerd, Podman, Docker's own daemon, test suites.
//!
//! Started as `corten-runtime`, or as `corten-shim runtime …`. Each verb is a file here, of the same name as in the
//! `runtime` crate; what is kept of a container between two commands is in `record`.
//!
//! ```text
//! <root>/<id>/state.json     the record (0600; the directory is 0700)
//!             lock           held by the command that works on the container
//!             config.json    the bundle's, as it was when the container was made
//!             gate           the socket on which init waits to be started
//! ```

mod args;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod kill;
mod list;
mod log;
mod pause;
mod process;
mod ps;
mod record;
mod spec;
mod start;
mod state;
mod terminal;
mod update;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use args::{Args, Known};
use runtime::Failure;

/// What a command says when it fails, in runc's words where others read them.
type Outcome = Result<u8, String>;

const GLOBAL: [Known; 13] = [
    ("debug", "", false),
    ("log", "", true),
    ("log-format", "", true),
    ("root", "", true),
    ("criu", "", true),
    ("systemd-cgroup", "", false),
    ("rootless", "", true),
    ("version", "v", false),
    ("help", "h", false),
    ("no-pivot", "", false),
    ("no-new-keyring", "", false),
    ("cgroup-manager", "", true),
    ("no-subreaper", "", false),
];

/// Where records are when nobody says.
const ROOT: &str = "/run/corten-runtime";

/// What every command knows.
struct Context {
    root: PathBuf,
    /// Somebody has said so.
    root_named: bool,
    log: log::Log,
    systemd: bool,
    no_pivot: bool,
    no_new_keyring: bool,
}

/// Whether this program was started as a runtime; the words after its name.
pub(crate) fn arguments() -> Option<Vec<String>> {
    let mut words = std::env::args();
    let name = words.next()?;
    let mut words: Vec<String> = words.collect();
    if name.rsplit('/').next() == Some("corten-runtime") {
        return Some(words);
    }
    (words.first().map(String::as_str) == Some("runtime")).then(|| words.split_off(1))
}

/// Runs one command.
pub(crate) fn main(words: &[String]) -> ExitCode {
    let args = match Args::leading(words, &GLOBAL) {
        Ok(args) => args,
        Err(usage) => return log::Log::none().fatal(&usage),
    };
    let log = match log::Log::open(args.value("log"), args.value("log-format")) {
        Ok(log) => log,
        Err(error) => return log::Log::none().fatal(&error),
    };
    let context = Context {
        root: args.value("root").unwrap_or(ROOT).into(),
        root_named: args.value("root").is_some(),
        log,
        systemd: args.has("systemd-cgroup"),
        no_pivot: args.has("no-pivot"),
        no_new_keyring: args.has("no-new-keyring"),
    };
    if args.has("version") {
        return finish(&context, version());
    }
    let Some((command, rest)) = args.words.split_first().filter(|_| !args.has("help")) else {
        return finish(&context, help());
    };
    if rest
        .iter()
        .take_while(|word| word.starts_with('-'))
        .any(|word| matches!(word.as_str(), "-h" | "--help"))
    {
        return finish(&context, help());
    }
    // Before anything of a container's runs: what it could reach of us must not be our file.
    let makes_processes = matches!(command.as_str(), "create" | "run" | "exec" | "start");
    if makes_processes && let Err(error) = sys::process::run_read_only() {
        return context.log.fatal(&format!("{error}: {}", error.source));
    }
    if args.has("debug") {
        context.log.write("debug", &format!("command: {}", args.words.join(" ")));
    }
    let outcome = match command.as_str() {
        "create" => create::create(&context, rest),
        "run" => create::run(&context, rest),
        "start" => start::start(&context, rest),
        "state" => state::state(&context, rest),
        "kill" => kill::kill(&context, rest),
        "delete" => delete::delete(&context, rest),
        "exec" => {
            return exec::exec(&context, rest).map_or_else(|e| exec::failed(&context, &e), ExitCode::from);
        }
        "ps" => ps::ps(&context, rest),
        "pause" => pause::pause(&context, rest),
        "resume" => pause::resume(&context, rest),
        "update" => update::update(&context, rest),
        "events" => events::events(&context, rest),
        "list" => list::list(&context, rest),
        "features" => features::features(rest),
        "spec" => spec::spec(rest),
        "help" => help(),
        "checkpoint" | "restore" => {
            Err(format!("{command} is not supported: this runtime does not use CRIU"))
        }
        other => Err(format!("No help topic for '{other}'")),
    };
    finish(&context, outcome)
}

fn finish(context: &Context, outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(error) => context.log.fatal(&error),
    }
}

/// Who asks for it looks for these first words and the second line.
fn version() -> Outcome {
    print(&format!(
        "corten-runtime version {}\ncommit: none\nspec: {}\n",
        env!("CARGO_PKG_VERSION"),
        ::spec::oci::runtime::OCI_VERSION
    ))
}

fn help() -> Outcome {
    print(
        "USAGE:\n   corten-runtime [global options] command [command options] [arguments...]\n\n\
         COMMANDS:\n   create delete events exec features kill list pause ps resume run spec start state update\n\n\
         GLOBAL OPTIONS:\n   --root value        where containers are kept (default: /run/corten-runtime)\n   \
         --log value         the file that errors are written to (default: standard error)\n   \
         --log-format value  text or json\n   --systemd-cgroup    cgroupsPath is slice:prefix:name\n   \
         --version           the version\n",
    )
}

/// Writes to standard output.
fn print(text: &str) -> Outcome {
    match std::io::stdout().write_all(text.as_bytes()) {
        // Nobody reads on: that is for the reader to know.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        _ => Ok(0),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

fn words(error: sys::Error) -> String {
    format!("{error}: {}", error.source)
}

/// A failure in the words that runc's callers look for.
fn failure(failure: &Failure) -> String {
    match failure.step.as_str() {
        "exec" | "chdir" | "user" => format!("unable to start container process: {}", failure.detail),
        "spec" => format!("{}: {}", failure.path, failure.detail),
        "kill" if failure.errno == 3 => "container not running".into(),
        _ => format!("unable to start container process: error during container init: {failure}"),
    }
}
