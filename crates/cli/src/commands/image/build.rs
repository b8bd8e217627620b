//! `corten build`.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use client::{BuildOptions, Upload};

use super::context::Context;
use crate::app::App;
use crate::commands::container::create::platform;
use crate::error::{Error, Result};
use crate::flags::limits;
use crate::progress::{self, Output};
use crate::verb::Verb;
use crate::{print, units};

/// A Dockerfile that came alone, or from outside the context.
const LOOSE_DOCKERFILE: &str = ".dockerfile.corten";

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Add a line to /etc/hosts of RUN instructions (host:ip)
    #[arg(long)]
    add_host: Vec<String>,
    /// Set a build argument
    #[arg(long)]
    build_arg: Vec<String>,
    /// Take cache from this image
    #[arg(long, value_delimiter = ',')]
    cache_from: Vec<String>,
    /// Put the cgroups of RUN instructions under this one
    #[arg(long, default_value = "")]
    cgroup_parent: String,
    /// Compress the build context
    #[arg(long)]
    compress: bool,
    /// Length of a CPU scheduling period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_period: i64,
    /// CPU time per period in microseconds
    #[arg(long, default_value = "0", value_name = "int")]
    cpu_quota: i64,
    /// CPU weight relative to other containers
    #[arg(short, long, default_value = "0", value_name = "int")]
    cpu_shares: i64,
    /// CPUs to run on (0-3, 0,1)
    #[arg(long, default_value = "")]
    cpuset_cpus: String,
    /// Memory nodes to use (0-3, 0,1)
    #[arg(long, default_value = "")]
    cpuset_mems: String,
    /// Accepted, and without effect: images are always verified by digest
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Name of the Dockerfile (default: "PATH/Dockerfile")
    #[arg(short, long, default_value = "")]
    file: String,
    /// Always remove intermediate containers
    #[arg(long)]
    force_rm: bool,
    /// Write the image ID to this file
    #[arg(long, default_value = "")]
    iidfile: String,
    /// Set a label on the image
    #[arg(long)]
    label: Vec<String>,
    /// Accepted: the image is always loaded into the store
    #[arg(long, hide = true)]
    load: bool,
    /// Memory limit
    #[arg(short, long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    memory: i64,
    /// Limit of memory and swap together: '-1' for unlimited swap
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = limits::bytes_or_unlimited)]
    memory_swap: i64,
    /// Network of RUN instructions
    #[arg(long, default_value = "default")]
    network: String,
    /// Do not use the cache
    #[arg(long)]
    no_cache: bool,
    /// Platform to build for
    #[arg(long, default_value = "")]
    platform: String,
    /// How to show progress ("auto", "plain", "tty", "quiet")
    #[arg(long, default_value = "auto")]
    progress: String,
    /// Always look for newer base images
    #[arg(long)]
    pull: bool,
    /// Print the image ID only
    #[arg(short, long)]
    quiet: bool,
    /// Remove intermediate containers after a successful build
    #[arg(long, default_value_t = true)]
    rm: bool,
    /// Size of /dev/shm
    #[arg(long, default_value = "0", value_name = "bytes", value_parser = units::parse_bytes)]
    shm_size: i64,
    /// Name and optionally a tag for the image (format: "name:tag")
    #[arg(short, long)]
    tag: Vec<String>,
    /// Build this stage
    #[arg(long, default_value = "")]
    target: String,
    /// Set a resource limit (name=soft[:hard])
    #[arg(long, value_name = "ulimit")]
    ulimit: Vec<String>,
    context: Vec<String>,
}

impl Verb for Build {
    const USAGE: &'static str = "[OPTIONS] PATH | URL | -";
    const ABOUT: &'static str = "Build an image from a Dockerfile";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let mut options = self.options(app)?;
        let upload = self.source(&mut options)?;
        let client = app.client().await?;
        let lines = client.image_build(&options, upload).await?;
        let quiet = self.quiet || self.progress == "quiet";
        let output = if quiet { Output::Nowhere } else { Output::Stdout };
        let mut id = String::new();
        let last = progress::show(lines, output, |aux| {
            if let Some(text) = progress::aux_text(aux, "ID") {
                id = text;
            }
        })
        .await?;
        if id.is_empty() {
            last.trim().clone_into(&mut id);
        }
        if quiet {
            print::line(&id);
        }
        if !self.iidfile.is_empty() {
            write_id(Path::new(&self.iidfile), &id)?;
        }
        Ok(0)
    }
}

impl Build {
    fn options(&self, app: &App) -> Result<BuildOptions> {
        for tag in &self.tag {
            tag.parse::<spec::Reference>().map_err(|error| {
                Error::invalid(format!("invalid argument {tag:?} for \"-t, --tag\" flag: {error}"))
            })?;
        }
        let mut arguments: BTreeMap<String, Option<String>> = BTreeMap::new();
        for (name, value) in app.proxies()? {
            arguments.insert(name, Some(value));
        }
        for word in &self.build_arg {
            match word.split_once('=') {
                Some((name, value)) => arguments.insert(name.to_owned(), Some(value.to_owned())),
                None => arguments.insert(word.clone(), std::env::var(word).ok()),
            };
        }
        let labels = crate::flags::map(&self.label);
        let ulimits: Vec<_> = self
            .ulimit
            .iter()
            .map(|text| limits::ulimit(text).map_err(Error::Invalid))
            .collect::<Result<_>>()?;
        Ok(BuildOptions {
            tags: self.tag.clone(),
            quiet: self.quiet,
            no_cache: self.no_cache,
            pull: self.pull,
            keep: !self.rm,
            force_rm: self.force_rm,
            build_args: json(&arguments, arguments.is_empty()),
            labels: json(&labels, labels.is_empty()),
            cache_from: json(&self.cache_from, self.cache_from.is_empty()),
            network: self.network.clone(),
            platform: platform(&self.platform),
            target: self.target.clone(),
            extra_hosts: self.add_host.iter().map(|host| host.replacen('=', ":", 1)).collect(),
            shm_size: self.shm_size,
            memory: self.memory,
            memory_swap: self.memory_swap,
            cpu_shares: self.cpu_shares,
            cpuset_cpus: self.cpuset_cpus.clone(),
            cpuset_mems: self.cpuset_mems.clone(),
            cpu_period: self.cpu_period,
            cpu_quota: self.cpu_quota,
            cgroup_parent: self.cgroup_parent.clone(),
            ulimits: json(&ulimits, ulimits.is_empty()),
            registry_config: app.config()?.all_registries(),
            ..BuildOptions::default()
        })
    }

    /// Where the files come from: sets the options that say so, and returns the body.
    fn source(&self, options: &mut BuildOptions) -> Result<Option<Upload>> {
        let source = self.context[0].as_str();
        if source == "-" {
            return self.stdin_source(options).map(Some);
        }
        if is_remote(source) {
            source.clone_into(&mut options.remote);
            options.dockerfile.clone_from(&self.file);
            return Ok(None);
        }
        let directory = std::fs::canonicalize(source)
            .map_err(|_| Error::invalid(format!("unable to prepare context: path {source:?} not found")))?;
        if !directory.is_dir() {
            return Err(Error::invalid(format!(
                "unable to prepare context: context must be a directory: {}",
                directory.display()
            )));
        }
        let mut extra = None;
        options.dockerfile = match self.file.as_str() {
            "" => "Dockerfile".into(),
            "-" => {
                extra = Some((LOOSE_DOCKERFILE.to_owned(), read_stdin()?));
                LOOSE_DOCKERFILE.into()
            }
            file => {
                let path = std::fs::canonicalize(file).map_err(|error| {
                    Error::invalid(format!("unable to evaluate symlinks in Dockerfile path: {file}: {error}"))
                })?;
                match path.strip_prefix(&directory) {
                    Ok(inside) => inside.to_string_lossy().into_owned(),
                    Err(_) => {
                        let bytes = std::fs::read(&path).map_err(Error::file("unable to read", &path))?;
                        extra = Some((LOOSE_DOCKERFILE.to_owned(), bytes));
                        LOOSE_DOCKERFILE.into()
                    }
                }
            }
        };
        if extra.is_none() && !directory.join(&options.dockerfile).exists() {
            return Err(Error::invalid(format!(
                "unable to evaluate symlinks in Dockerfile path: lstat {}: no such file or directory",
                directory.join(&options.dockerfile).display()
            )));
        }
        Ok(Some(Context::open(&directory, &options.dockerfile, extra)?.upload()))
    }

    /// A tar, compressed or not, or a Dockerfile alone.
    fn stdin_source(&self, options: &mut BuildOptions) -> Result<Upload> {
        if self.file == "-" {
            return Err(Error::invalid(
                "invalid argument: can't use stdin for both build context and dockerfile",
            ));
        }
        let mut head = vec![0; 512];
        let mut have = 0;
        let mut stdin = std::io::stdin().lock();
        while have < head.len() {
            match stdin.read(&mut head[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(source) => return Err(Error::Io { what: "failed to read context from STDIN", source }),
            }
        }
        drop(stdin);
        head.truncate(have);
        if is_archive(&head) {
            options.dockerfile.clone_from(&self.file);
            return Ok(super::upload(std::io::Cursor::new(head).chain(std::io::stdin())));
        }
        let mut dockerfile = head;
        dockerfile.extend(read_stdin()?);
        options.dockerfile = "Dockerfile".into();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(dockerfile.len() as u64);
        header.set_mode(0o644);
        let packed = tar
            .append_data(&mut header, "Dockerfile", dockerfile.as_slice())
            .and_then(|()| tar.into_inner())
            .map_err(|source| Error::Io { what: "cannot pack the Dockerfile", source })?;
        Ok(super::upload(std::io::Cursor::new(packed)))
    }
}

/// JSON of a list or map; nothing if that is empty.
fn json(value: &impl serde::Serialize, is_empty: bool) -> String {
    if is_empty { String::new() } else { serde_json::to_string(value).expect("text keys only") }
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .read_to_end(&mut bytes)
        .map_err(|source| Error::Io { what: "failed to read from STDIN", source })?;
    Ok(bytes)
}

/// A context the engine fetches: a git repository or an archive.
fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "git@", "github.com/"].iter().any(|prefix| source.starts_with(prefix))
}

/// Whether bytes begin a tar, or something compressed that will be one.
fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"];
    COMPRESSED.iter().any(|magic| head.starts_with(magic)) || head.get(257..262) == Some(b"ustar")
}

fn write_id(path: &Path, id: &str) -> Result<()> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, id.as_bytes()));
    written.map_err(Error::file("cannot write", PathBuf::from(path)))
}
