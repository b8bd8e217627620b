//! `corten build`.

mod git;
mod parts;
mod sink;
mod source;
mod view;
mod wish;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use client::{BuildOptions, Client, Host, JsonLines};
use spec::api::{NO_DESCRIPTOR, Progress};

use crate::app::App;
use crate::commands::container::create::platform;
use crate::error::{Error, Result};
use crate::flags::{key_value, limits};
use crate::verb::Verb;
use crate::{print, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Build {
    /// Add a line to /etc/hosts of RUN instructions (host:ip)
    #[arg(long)]
    add_host: Vec<String>,
    /// Allow RUN instructions more than a container may (network.host, security.insecure)
    #[arg(long)]
    allow: Vec<String>,
    /// Say something about the image in its manifest or index ([level:]key=value)
    #[arg(long)]
    annotation: Vec<String>,
    /// Put a statement beside the image (type=provenance[,mode=min|max], type=sbom)
    #[arg(long)]
    attest: Vec<String>,
    /// Accepted, and without effect: the engine is the builder
    #[arg(long, hide = true, default_value = "")]
    builder: String,
    /// Set a build argument
    #[arg(long)]
    build_arg: Vec<String>,
    /// A further context (name=PATH, name=docker-image://IMAGE, name=URL)
    #[arg(long)]
    build_context: Vec<String>,
    /// Take cached steps from there (type=registry,ref=NAME; type=local,src=DIR; an image's name)
    #[arg(long)]
    cache_from: Vec<String>,
    /// Give cached steps to others (type=registry,ref=NAME[,mode=max]; type=local,dest=DIR; type=inline)
    #[arg(long)]
    cache_to: Vec<String>,
    /// What to do instead of building ("check", "outline", "targets")
    #[arg(long, default_value = "build")]
    call: String,
    /// Look for mistakes instead of building (as --call=check)
    #[arg(long)]
    check: bool,
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
    /// Write what was built, as JSON, to this file
    #[arg(long, default_value = "")]
    metadata_file: String,
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
    /// Do not use the cache in these stages
    #[arg(long, value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Where the result goes (type=local,dest=DIR; also tar, oci, docker, registry, image; DIR; -)
    #[arg(short, long)]
    output: Vec<String>,
    /// Platforms to build for: several make one image of all
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    /// How to show progress ("auto", "plain", "tty", "quiet", "json")
    #[arg(long, default_value = "auto")]
    progress: String,
    /// Say how the image was built, beside it ("true", "mode=max")
    #[arg(long, default_value = "")]
    provenance: String,
    /// Push the image as well (as --output=type=registry)
    #[arg(long)]
    push: bool,
    /// Always look for newer base images
    #[arg(long)]
    pull: bool,
    /// Print the image ID only
    #[arg(short, long)]
    quiet: bool,
    /// A limit of RUN instructions (memory=2g, cpu-quota=50000)
    #[arg(long)]
    resource: Vec<String>,
    /// Remove intermediate containers after a successful build
    #[arg(long, default_value_t = true)]
    rm: bool,
    /// Say which packages are in the image, beside it ("true")
    #[arg(long, default_value = "")]
    sbom: String,
    /// What RUN instructions see and no layer keeps (id=NAME[,src=FILE|env=VAR]; NAME alone is a variable's or a file's)
    #[arg(long)]
    secret: Vec<String>,
    /// Make one layer of everything above the base image
    #[arg(long)]
    squash: bool,
    /// An ssh agent for RUN instructions (default or NAME=SOCKET)
    #[arg(long)]
    ssh: Vec<String>,
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
        let mut source = source::Source::find(&self.context[0], &self.file)?;
        let mut kept: Vec<git::Checkout> = source.take_checkout().into_iter().collect();
        let client = app.client().await?;
        let lines = if client.is_corten().await? {
            self.send_to_corten(client, &mut options, source, &mut kept).await?
        } else {
            wish::nothing_beyond(&self)?;
            let upload = source.upload(&mut options)?;
            client.image_build(&options, upload, Vec::new()).await?
        };
        let quiet = self.quiet || self.progress == "quiet";
        let mode = view::Mode::of(&self.progress, quiet)?;
        let mut sinks = sink::Sinks::open(&self.destinations()?)?;
        let shown = view::show(lines, mode, &mut sinks).await?;
        sinks.finish()?;
        if let Some(answer) = shown.answer {
            if self.call.contains("format=json") {
                print::line(serde_json::to_string_pretty(&answer.json).unwrap_or_default());
            } else {
                print::out(answer.text);
            }
            return Ok(answer.code);
        }
        if quiet && !sinks.has_stdout() {
            print::line(&shown.id);
        }
        if !self.iidfile.is_empty() {
            write(Path::new(&self.iidfile), shown.id.as_bytes())?;
        }
        if !self.metadata_file.is_empty() {
            let text = serde_json::to_string_pretty(&shown.metadata).unwrap_or_default();
            write(Path::new(&self.metadata_file), text.as_bytes())?;
        }
        Ok(0)
    }
}

impl Build {
    /// Corten's engine reads directories of the same machine itself; others get a tar.
    async fn send_to_corten(
        &self,
        client: &Client,
        options: &mut BuildOptions,
        source: source::Source,
        kept: &mut Vec<git::Checkout>,
    ) -> Result<JsonLines<Progress>> {
        let (mut wish, mut descriptors, checkouts) = wish::of(self, client)?;
        kept.extend(checkouts);
        if let Some((_, dockerfile)) = source.directory() {
            match dockerfile {
                source::Dockerfile::Inside(name) => options.dockerfile.clone_from(name),
                source::Dockerfile::Loose { text, ignore } => {
                    wish.dockerfile = Some(String::from_utf8_lossy(text).into_owned());
                    wish.ignore = ignore.as_ref().map(|text| String::from_utf8_lossy(text).into_owned());
                }
            }
        }
        if matches!(client.host(), Host::Unix(_))
            && let Some((directory, _)) = source.directory()
        {
            wish.context = format!("fd:{}", descriptors.len());
            descriptors.push(wish::open(directory)?);
            wish.descriptors = descriptors.len();
            options.wish = Some(wish.clone());
            match client.image_build(options, None, descriptors).await {
                // Something between us and the engine loses descriptors.
                Err(client::Error::Daemon { message, .. }) if message == NO_DESCRIPTOR => {
                    wish::without_descriptors(&mut wish)?;
                    descriptors = Vec::new();
                }
                answer => return Ok(answer?),
            }
        }
        if let Some((directory, dockerfile)) = source.directory()
            && let Some(lines) = parts::send(client, options, &mut wish, directory, dockerfile).await?
        {
            return Ok(lines);
        }
        // In the tar, now.
        (wish.dockerfile, wish.ignore) = (None, None);
        let upload = source.upload(options)?;
        options.wish = Some(wish);
        Ok(client.image_build(options, upload, descriptors).await?)
    }

    /// The outputs, and where the client puts each.
    fn destinations(&self) -> Result<Vec<sink::Destination>> {
        let mut destinations: Vec<sink::Destination> =
            wish::outputs(self)?.iter().map(sink::Destination::of_output).collect();
        if destinations.is_empty() {
            destinations.push(sink::Destination::Nowhere);
        }
        destinations.extend(wish::caches(self)?.iter().filter_map(sink::Destination::of_cache));
        Ok(destinations)
    }

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
        let mut options = BuildOptions {
            tags: self.tag.clone(),
            quiet: self.quiet,
            no_cache: self.no_cache,
            pull: self.pull,
            keep: !self.rm,
            force_rm: self.force_rm,
            build_args: json(&arguments, arguments.is_empty()),
            labels: json(&labels, labels.is_empty()),
            network: self.network.clone(),
            platform: if let [one] = self.platform.as_slice() { platform(one) } else { String::new() },
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
        };
        for text in &self.resource {
            resource(&mut options, text).map_err(Error::Invalid)?;
        }
        Ok(options)
    }
}

/// `--resource`: one limit by its name.
fn resource(options: &mut BuildOptions, text: &str) -> std::result::Result<(), String> {
    let (name, value) = key_value(text)?;
    let number =
        || value.parse::<i64>().map_err(|_| format!("invalid --resource {text:?}: {value} is not a number"));
    match name.as_str() {
        "memory" => options.memory = units::parse_bytes(value)?,
        "memory-swap" => options.memory_swap = limits::bytes_or_unlimited(value)?,
        "cpu-shares" => options.cpu_shares = number()?,
        "cpu-period" => options.cpu_period = number()?,
        "cpu-quota" => options.cpu_quota = number()?,
        "cpuset-cpus" => value.clone_into(&mut options.cpuset_cpus),
        "cpuset-mems" => value.clone_into(&mut options.cpuset_mems),
        _ => {
            return Err(format!(
                "invalid --resource {text:?}: expected memory, memory-swap, cpu-shares, cpu-period, cpu-quota, cpuset-cpus or cpuset-mems"
            ));
        }
    }
    Ok(())
}

/// JSON of a list or map; nothing if that is empty.
fn json(value: &impl serde::Serialize, is_empty: bool) -> String {
    if is_empty { String::new() } else { serde_json::to_string(value).expect("text keys only") }
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
    written.map_err(Error::file("cannot write", PathBuf::from(path)))
}
