//! `corten system install` and `corten system uninstall`.
//!
//! A plan of steps is made first, and shown with `--dry-run`; then it is carried out. What was put where is written to
//! [`RECORD`], one path on a line, and that is what uninstalling removes, and nothing else.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::app::{App, program};
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{file, print};

/// Where it is written what was installed.
const RECORD: &str = "/etc/corten/installed";
const UNITS: &str = "/etc/systemd/system";
const SERVICE: &str = include_str!("../../../../../dist/systemd/corten.service");
const SOCKET: &str = include_str!("../../../../../dist/systemd/corten.socket");
const SYSUSERS: &str = include_str!("../../../../../dist/sysusers.d/corten.conf");
/// The program in the units, as packages have it.
const PACKAGED: &str = "/usr/bin/cortend";
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
const DOCKER_DROP_IN: &str = "# Made by `corten system install`: Docker's clients find Corten by themselves.\n[Socket]\nListenStream=/var/run/docker.sock\n";
const PROGRAMS: [&str; 3] = ["corten", "cortend", "corten-shim"];

/// One thing to do. Paths are those on the system to be, without `--root`.
enum Step {
    Copy { from: PathBuf, to: PathBuf },
    Write { path: PathBuf, text: String },
    Remove { path: PathBuf },
    RemoveAll { path: PathBuf },
    Run { words: &'static [&'static str] },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy { from, to } => write!(f, "copy    {} to {}", from.display(), to.display()),
            Self::Write { path, .. } => write!(f, "write   {}", path.display()),
            Self::Remove { path } => write!(f, "remove  {}", path.display()),
            Self::RemoveAll { path } => write!(f, "remove  {} and all data in it", path.display()),
            Self::Run { words } => write!(f, "run     {}", words.join(" ")),
        }
    }
}

impl Step {
    fn carry_out(&self, root: &Path) -> Result<()> {
        match self {
            Self::Copy { from, to } => {
                let bytes = std::fs::read(from).map_err(Error::file("cannot read", from))?;
                make_parent(&within(root, to))?;
                file::replace(&within(root, to), &bytes, 0o755)
            }
            Self::Write { path, text } => {
                make_parent(&within(root, path))?;
                file::replace(&within(root, path), text.as_bytes(), 0o644)
            }
            Self::Remove { path } => {
                let path = within(root, path);
                gone(std::fs::remove_file(&path), &path)?;
                // Only an empty directory goes, and only one that is ours by its name.
                let is_ours = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("corten");
                let parent = path.parent().filter(|dir| dir.file_name().is_some_and(is_ours));
                if let Some(parent) = parent {
                    let _ = std::fs::remove_dir(parent);
                }
                Ok(())
            }
            Self::RemoveAll { path } => {
                let path = within(root, path);
                gone(std::fs::remove_dir_all(&path), &path)
            }
            Self::Run { words } => run(words),
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Install {
    /// Serve at Docker's socket, too, whatever is there now
    #[arg(long)]
    docker_socket: bool,
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Leave Docker's socket alone, even if it is free
    #[arg(long)]
    no_docker_socket: bool,
    /// Put the programs below this directory
    #[arg(long, default_value = "/usr/local", value_name = "directory")]
    prefix: PathBuf,
    /// Install into this directory as if it were the root of a system; nothing is enabled or started
    #[arg(long, default_value = "/", value_name = "directory")]
    root: PathBuf,
}

impl Verb for Install {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Set up the daemon as a service of systemd";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        if self.docker_socket && self.no_docker_socket {
            return Err(Error::invalid("conflicting options: --docker-socket and --no-docker-socket"));
        }
        if !self.prefix.is_absolute() {
            return Err(Error::invalid("--prefix must be an absolute path"));
        }
        let whole = self.root == Path::new("/");
        if !self.dry_run && whole {
            need_root()?;
            if app
                .client_if_running()
                .await
                .is_some_and(|client| client.host().to_string().contains("/corten.sock"))
                && !within(&self.root, Path::new(RECORD)).exists()
            {
                return Err(Error::invalid(
                    "a cortend runs that is no service: end it first (its containers go on), then the service takes over",
                ));
            }
        }
        let plan = self.plan()?;
        if self.dry_run {
            show(&plan);
            return Ok(0);
        }
        plan.iter().try_for_each(|step| step.carry_out(&self.root))?;
        print::line(match (whole, systemd_runs()) {
            (true, true) => "Installed; the service runs.",
            (true, false) => "Installed; systemd does not run here: start cortend yourself.",
            (false, _) => "Installed.",
        });
        Ok(0)
    }
}

impl Install {
    fn plan(&self) -> Result<Vec<Step>> {
        let exe = std::env::current_exe()
            .map_err(|source| Error::Io { what: "cannot find corten itself", source })?;
        let beside = exe.parent().unwrap_or(Path::new("/"));
        let bin = self.prefix.join("bin");
        // A package has put them there already.
        let packaged = [Path::new("/usr/bin"), &bin].contains(&beside);
        let place = if packaged { beside } else { &bin };
        let mut steps = Vec::new();
        for name in PROGRAMS.iter().filter(|_| !packaged) {
            let from = beside.join(name);
            if !from.is_file() {
                return Err(Error::invalid(format!(
                    "{} is not there: build all three programs",
                    from.display()
                )));
            }
            steps.push(Step::Copy { from, to: bin.join(name) });
        }
        let mut write = |path: PathBuf, text: String| steps.push(Step::Write { path, text });
        let units = Path::new(UNITS);
        write("/etc/sysusers.d/corten.conf".into(), SYSUSERS.into());
        let service = SERVICE.replace(PACKAGED, &place.join("cortend").display().to_string());
        write(units.join("corten.service"), service);
        write(units.join("corten.socket"), SOCKET.into());
        let free = !within(&self.root, Path::new(DOCKER_SOCKET)).exists();
        if self.docker_socket || (free && !self.no_docker_socket) {
            write(units.join("corten.socket.d/docker.conf"), DOCKER_DROP_IN.into());
        }
        for (shell, path) in [
            ("bash", "share/bash-completion/completions/corten"),
            ("zsh", "share/zsh/site-functions/_corten"),
            ("fish", "share/fish/vendor_completions.d/corten.fish"),
        ] {
            let script = super::completion::script(shell).unwrap_or_default();
            write(self.prefix.join(path), script);
        }
        // What an installation before this one has put down stays known.
        let mut installed: BTreeSet<PathBuf> = recorded(&self.root)?.into_iter().collect();
        installed.extend(steps.iter().filter_map(|step| match step {
            Step::Copy { to, .. } => Some(to.clone()),
            Step::Write { path, .. } => Some(path.clone()),
            Step::Remove { .. } | Step::RemoveAll { .. } | Step::Run { .. } => None,
        }));
        let lines: String = installed.iter().map(|path| format!("{}\n", path.display())).collect();
        // First, so that an installation that breaks off can be undone.
        steps.insert(0, Step::Write { path: RECORD.into(), text: lines });
        if self.root == Path::new("/") && systemd_runs() {
            steps.push(Step::Run { words: &["systemd-sysusers", "/etc/sysusers.d/corten.conf"] });
            steps.push(Step::Run { words: &["systemctl", "daemon-reload"] });
            steps.push(Step::Run {
                words: &["systemctl", "enable", "--now", "corten.socket", "corten.service"],
            });
        }
        Ok(steps)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Uninstall {
    /// Print what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Remove images, containers and volumes, too
    #[arg(long)]
    purge: bool,
    /// Uninstall from this directory as if it were the root of a system
    #[arg(long, default_value = "/", value_name = "directory")]
    root: PathBuf,
}

impl Verb for Uninstall {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Undo 'system install'; images, containers and volumes stay";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, _: &App) -> Result<u8> {
        let whole = self.root == Path::new("/");
        if !self.dry_run && whole {
            need_root()?;
        }
        let installed = recorded(&self.root)?;
        if installed.is_empty() && !self.purge {
            return Err(Error::invalid(format!(
                "nothing was installed by '{} system install': there is no {}",
                program(),
                within(&self.root, Path::new(RECORD)).display()
            )));
        }
        let shims = within(&self.root, Path::new("/run/corten/shim"));
        if self.purge && shims.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
            return Err(Error::invalid("containers are running: stop them before their data is removed"));
        }
        let mut plan = Vec::new();
        if whole && systemd_runs() && !installed.is_empty() {
            plan.push(Step::Run {
                words: &["systemctl", "disable", "--now", "corten.service", "corten.socket"],
            });
        }
        plan.extend(installed.into_iter().map(|path| Step::Remove { path }));
        plan.push(Step::Remove { path: RECORD.into() });
        if self.purge {
            plan.push(Step::RemoveAll { path: "/var/lib/corten".into() });
            plan.push(Step::RemoveAll { path: "/run/corten".into() });
        }
        if whole && systemd_runs() {
            plan.push(Step::Run { words: &["systemctl", "daemon-reload"] });
        }
        if self.dry_run {
            show(&plan);
            return Ok(0);
        }
        plan.iter().try_for_each(|step| step.carry_out(&self.root))?;
        print::line("Uninstalled.");
        Ok(0)
    }
}

fn show(plan: &[Step]) {
    print::out(plan.iter().map(|step| format!("{step}\n")).collect::<String>());
}

/// What was installed before.
fn recorded(root: &Path) -> Result<Vec<PathBuf>> {
    let path = within(root, Path::new(RECORD));
    let bytes = crate::context::optional(&path)?.unwrap_or_default();
    Ok(String::from_utf8_lossy(&bytes)
        .lines()
        .filter(|line| line.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

/// A path of the system below `root`.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn make_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(Error::file("cannot create", parent))
}

/// What is not there need not be removed.
fn gone(outcome: std::io::Result<()>, path: &Path) -> Result<()> {
    match outcome {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::file("cannot remove", path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn need_root() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Error::invalid("only root can do this: run it with sudo, or see what it would do with --dry-run"))
}

/// sd_booted(3): whether systemd is this system's init.
fn systemd_runs() -> bool {
    Path::new("/run/systemd/system").is_dir()
}

#[allow(clippy::disallowed_methods, reason = "systemd is set up by its own programs")]
fn run(words: &[&str]) -> Result<()> {
    let status = std::process::Command::new(words[0]).args(&words[1..]).status();
    match status.map_err(Error::file("cannot run", words[0]))? {
        status if status.success() => Ok(()),
        status => Err(Error::invalid(format!("'{}' failed: {status}", words.join(" ")))),
    }
}
