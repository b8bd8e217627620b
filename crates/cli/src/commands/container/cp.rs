//! `corten cp`.

use std::io::{self, Seek as _, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Body, Client, Host};
use spec::api::{NO_DESCRIPTOR, PathStat};

use crate::app::App;
use crate::copy::pack::Apart;
use crate::copy::rules::{Place, Plan, Source, Target, followed, place, plan};
use crate::copy::stream::{Outgoing, incoming, outgoing};
use crate::copy::{pack, relay, unpack};
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{path, print, terminal, units};

/// Go's `os.FileMode` bits.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;
const GO_DEVICE: u32 = 1 << 26;
const GO_SOCKET: u32 = 1 << 24;
const GO_IRREGULAR: u32 = 1 << 19;
/// Time between two looks at how far a copy has come.
const REFRESH: Duration = Duration::from_millis(75);

#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// Keep the owners of the files
    #[arg(short, long)]
    archive: bool,
    /// Copy what SRC_PATH points to if it is a symbolic link
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Do not show progress; on by itself when no terminal is attached
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    quiet: Option<bool>,
    words: Vec<String>,
}

impl Verb for Copy {
    const USAGE: &'static str =
        "[OPTIONS] CONTAINER:SRC_PATH DEST_PATH|-\n\tcorten cp [OPTIONS] SRC_PATH|- CONTAINER:DEST_PATH";
    const ABOUT: &'static str = "Copy files/folders between a container and the local filesystem";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        for (word, name) in self.words.iter().zip(["source", "destination"]) {
            if word.is_empty() {
                return Err(Error::invalid(format!("{name} can not be empty")));
            }
        }
        match (place(&self.words[0]), place(&self.words[1])) {
            (Place::Local(_), Place::Local(_)) => {
                return Err(Error::invalid("must specify at least one container source"));
            }
            (Place::Container { name, path }, Place::Local(target)) => {
                self.download(app.client().await?, name, path, target).await?;
            }
            (Place::Local(source), Place::Container { name, path }) => {
                self.upload(app.client().await?, source, name, path).await?;
            }
            (from @ Place::Container { .. }, to @ Place::Container { .. }) => {
                self.across(app.client().await?, from, to).await?;
            }
        }
        Ok(0)
    }
}

impl Copy {
    fn progress(&self, doing: &'static str) -> Progress {
        Progress {
            shown: !self.quiet.unwrap_or_else(|| !terminal::stdout_is_terminal()),
            doing,
            bytes: Arc::default(),
        }
    }

    /// From a container to here.
    async fn download(&self, client: &Client, container: &str, path: &str, target: &str) -> Result<()> {
        let target = if target == "-" { target.to_owned() } else { absolute(target)? };
        check_output(&target)?;
        let (source, mut body) = self.open(client, container, path).await?;
        if target == "-" {
            while let Some(chunk) = body.chunk().await? {
                print::out(&chunk);
            }
            return Ok(());
        }
        let plan = plan(&source, &local_target(&target)?)?;
        let progress = self.progress("Copying from container");
        let (reader, pump) = incoming(body, progress.bytes.clone());
        let owners = self.archive;
        let unpacking = tokio::task::spawn_blocking(move || unpack::unpack(reader, &plan, owners));
        let work = async {
            let ((), unpacked) = tokio::join!(pump, unpacking);
            finished(unpacked)
        };
        progress.during(work, &target).await
    }

    /// From here to a container.
    async fn upload(&self, client: &Client, source: &str, container: &str, path: &str) -> Result<()> {
        let source = if source == "-" { source.to_owned() } else { absolute(source)? };
        let target = container_target(client, container, path).await?;
        let progress = self.progress("Copying to container");
        let shown = format!("{container}:{}", target.path);
        if source == "-" {
            if target.is_dir != Some(true) {
                return Err(Error::invalid(format!(
                    "destination \"{container}:{path}\" must be a directory"
                )));
            }
            let uncounted = Arc::default();
            let upload = outgoing(uncounted, |out| io::copy(&mut io::stdin().lock(), out).map(drop));
            return progress.during(self.put(client, container, &target.path, upload), &shown).await;
        }
        let source = pack::source(&source, self.follow_link)?;
        let Plan { directory, to, .. } = plan(&source, &target)?;
        if matches!(client.host(), Host::Unix(_))
            && let Some(apart) = pack::apart(&source, &to).map_err(|e| Error::invalid(e.to_string()))?
            && client.is_corten().await?
            && let Some(done) = self.put_apart(client, container, &directory, apart, &progress, &shown).await
        {
            return done;
        }
        let upload = outgoing(progress.bytes.clone(), move |out| {
            let mut tar = tar::Builder::new(out);
            pack::pack(&mut tar, &source, &to)?;
            tar.finish()
        });
        progress.during(self.put(client, container, &directory, upload), &shown).await
    }

    /// Has the engine read a file's content itself. None: something between us and it loses descriptors.
    async fn put_apart(
        &self,
        client: &Client,
        container: &str,
        directory: &str,
        apart: Apart,
        progress: &Progress,
        shown: &str,
    ) -> Option<Result<()>> {
        let Apart { tar, place, content } = apart;
        let seen = content.try_clone().ok();
        let Outgoing { body, .. } = outgoing(Arc::default(), move |out| out.write_all(&tar));
        let content = (content.into(), place);
        let put = client.container_archive_put_apart(container, directory, self.archive, body, content);
        // How far the engine has read is to be seen at the file, which is open but once.
        let look = || seen.as_ref().and_then(|mut file| file.stream_position().ok());
        let count = || look().map_or((), |at| progress.bytes.store(at, Ordering::Relaxed));
        let done = progress.during_counted(async { Ok(put.await?) }, shown, count).await;
        match done {
            Err(Error::Client(client::Error::Daemon { message, .. })) if message == NO_DESCRIPTOR => None,
            done => Some(done),
        }
    }

    async fn put(&self, client: &Client, container: &str, directory: &str, upload: Outgoing) -> Result<()> {
        let Outgoing { body, mut failure } = upload;
        match client.container_archive_put(container, directory, self.archive, body).await {
            // A request that we broke off: why is the better answer.
            Err(client::Error::Transport(error)) => match failure.try_recv() {
                Ok(reason) => Err(Error::invalid(reason)),
                Err(_) => Err(client::Error::Transport(error).into()),
            },
            put => Ok(put?),
        }
    }

    /// From one container to another: the tar goes through us.
    async fn across(&self, client: &Client, from: Place<'_>, to: Place<'_>) -> Result<()> {
        let (Place::Container { name, path }, Place::Container { name: to, path: to_path }) = (from, to)
        else {
            return Err(Error::invalid("must specify at least one container source"));
        };
        let target = container_target(client, to, to_path).await?;
        let (source, body) = self.open(client, name, path).await?;
        let plan = plan(&source, &target)?;
        let progress = self.progress("Copying between containers");
        let (reader, pump) = incoming(body, progress.bytes.clone());
        let directory = plan.directory.clone();
        let upload = outgoing(Arc::default(), move |out| relay::relay(reader, out, &plan));
        let work = async {
            let ((), put) = tokio::join!(pump, self.put(client, to, &directory, upload));
            put
        };
        progress.during(work, &format!("{to}:{}", target.path)).await
    }

    /// Opens a container's path, with its link followed if the user wants that.
    async fn open(&self, client: &Client, container: &str, path: &str) -> Result<(Source, Body)> {
        let (mut path, mut known_as) = (path.to_owned(), None);
        if self.follow_link
            && let Ok(stat) = client.container_archive_stat(container, &path).await
            && stat.mode & GO_SYMLINK != 0
        {
            let (parent, _) = path::split(&path);
            (path, known_as) = followed(&path, &path::join(&parent, &stat.link_target));
        }
        let (stat, body) = client.container_archive_get(container, &path).await?;
        Ok((Source { path, is_dir: is_dir(&stat), known_as }, body))
    }
}

/// What a container has at a path; a link there is followed once, as a shell's redirection would.
async fn container_target(client: &Client, container: &str, path: &str) -> Result<Target> {
    let mut target = Target { path: path.to_owned(), is_dir: None };
    // What cannot be looked at may still be made.
    let mut found = client.container_archive_stat(container, path).await.ok();
    if let Some(stat) = found.as_ref().filter(|stat| stat.mode & GO_SYMLINK != 0) {
        let (parent, _) = path::split(path);
        target.path = path::join(&parent, &stat.link_target);
        found = client.container_archive_stat(container, &target.path).await.ok();
    }
    let Some(stat) = found else { return Ok(target) };
    let special = [(GO_DEVICE, "device"), (GO_SOCKET, "socket"), (GO_IRREGULAR, "irregular file")];
    if let Some((_, kind)) = special.iter().find(|(bit, _)| stat.mode & bit != 0) {
        let article = if kind.starts_with('i') { "an" } else { "a" };
        return Err(Error::invalid(format!(
            "destination \"{container}:{path}\" must be a directory or a regular file: got {article} {kind}"
        )));
    }
    target.is_dir = Some(is_dir(&stat));
    Ok(target)
}

fn is_dir(stat: &PathStat) -> bool {
    stat.mode & GO_DIRECTORY != 0
}

/// What is at a local path; links there are followed, and the last may lead to nothing.
fn local_target(path: &str) -> Result<Target> {
    let mut at = path.to_owned();
    for _ in 0..=10 {
        match Path::new(&at).symlink_metadata() {
            Ok(meta) if meta.is_symlink() => {
                let link = std::fs::read_link(&at).map_err(Error::file("readlink", &at))?;
                at = path::join(&path::split(&at).0, &link.to_string_lossy());
            }
            Ok(meta) => return Ok(Target { path: at, is_dir: Some(meta.is_dir()) }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = path::split(&at);
                let meta = std::fs::metadata(&parent).map_err(Error::file("stat", &parent))?;
                if !meta.is_dir() {
                    return Err(Error::invalid("not a directory"));
                }
                return Ok(Target { path: at, is_dir: None });
            }
            Err(error) => return Err(Error::file("lstat", &at)(error)),
        }
    }
    Err(Error::invalid(format!("too many symlinks in {path}")))
}

/// Refuses a destination whose directory is not there, or that is no place for files.
pub(super) fn check_output(path: &str) -> Result<()> {
    let (directory, _) = path::split(&path::clean(path));
    let missing =
        |path: &str| std::fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    if missing(&directory) {
        return Err(Error::invalid(format!("invalid output path: directory {directory:?} does not exist")));
    }
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::file("stat", path)(error)),
    };
    let kind = meta.file_type();
    let special = if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else if kind.is_socket() {
        "a socket"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!(
        "invalid output path: {path:?} must be a directory or a regular file: got {special}"
    )))
}

/// A local path from the root, with the ending the user gave it.
fn absolute(text: &str) -> Result<String> {
    let current = std::env::current_dir()
        .map_err(|source| Error::Io { what: "cannot find the current directory", source })?;
    Ok(path::keep_ending(path::join(&current.to_string_lossy(), text), text))
}

fn finished(outcome: std::result::Result<io::Result<()>, tokio::task::JoinError>) -> Result<()> {
    match outcome {
        Ok(outcome) => outcome.map_err(|error| Error::invalid(error.to_string())),
        Err(panic) => Err(Error::invalid(panic.to_string())),
    }
}

/// How far a copy has come, on a terminal's stderr.
struct Progress {
    shown: bool,
    doing: &'static str,
    bytes: Arc<AtomicU64>,
}

impl Progress {
    /// Does the work, and says at its end how much was copied where.
    async fn during(&self, work: impl Future<Output = Result<()>>, target: &str) -> Result<()> {
        self.during_counted(work, target, || ()).await
    }

    /// The same with bytes that are counted when somebody asks.
    async fn during_counted(
        &self,
        work: impl Future<Output = Result<()>>,
        target: &str,
        count: impl Fn(),
    ) -> Result<()> {
        let size = || {
            count();
            units::human_size_3(i64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX))
        };
        let live = self.shown && terminal::stderr_is_terminal();
        tokio::pin!(work);
        let mut ticks = tokio::time::interval(REFRESH);
        ticks.tick().await;
        let outcome = loop {
            tokio::select! {
                outcome = &mut work => break outcome,
                _ = ticks.tick(), if live => print::err(format!("\r\x1b[2K{} - {}", self.doing, size())),
            }
        };
        if live {
            print::err("\r\x1b[2K");
        }
        if self.shown && outcome.is_ok() {
            print::err_line(format!("Successfully copied {} to {target}", size()));
        }
        outcome
    }
}
