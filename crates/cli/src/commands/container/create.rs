//! `corten create`.

use std::io::Write as _;
use std::ops::RangeInclusive;

use client::Client;
use spec::Reference;
use spec::api::ContainerCreateRequest;

use super::api_socket;
use crate::app::App;
use crate::commands::image::pull;
use crate::error::{Error, Result};
use crate::flags::create::CreateFlags;
use crate::print;
use crate::progress::Output;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    #[command(flatten)]
    flags: CreateFlags,
    image_and_command: Vec<String>,
}

impl Verb for Create {
    const USAGE: &'static str = "[OPTIONS] IMAGE [COMMAND] [ARG...]";
    const ABOUT: &'static str = "Create a new container";
    const WORDS: RangeInclusive<usize> = 1..=MANY;
    const OPTIONS_FIRST: bool = true;

    async fn run(self, app: &App) -> Result<u8> {
        self.flags.check_pull().map_err(|error| super::refused(&error, &app.called))?;
        let streams = self.flags.streams();
        let request = self.flags.request(&self.image_and_command, streams);
        let request = request.map_err(|error| super::refused(&error, &app.called))?;
        print::line(make(app, &self.flags, request).await?);
        Ok(0)
    }
}

/// Makes the container, pulling its image if need be; its id.
pub(super) async fn make(
    app: &App,
    flags: &CreateFlags,
    mut request: ContainerCreateRequest,
) -> Result<String> {
    check_image(&request.config.image)?;
    let mut cid_file = CidFile::open(&flags.cidfile)?;
    let platform = platform(&flags.platform);
    add_proxies(app, &mut request)?;
    let client = app.client().await?;
    if !request.secrets.is_empty() {
        super::need_corten(client, "--secret").await?;
    }
    let credentials = match flags.use_api_socket {
        true => api_socket::prepare(app, client, &mut request)?,
        false => None,
    };
    let image = request.config.image.clone();
    if flags.pull == "always" {
        pull_image(app, client, &image, &platform, flags.quiet).await?;
    }
    let created = match client.container_create(&flags.name, &platform, &request).await {
        Err(error) if is_missing_image(&error, flags, &image) => {
            if !flags.quiet {
                let name = image.parse::<Reference>().map_or(image.clone(), |r| r.or_latest().familiar());
                print::err_line(format!("Unable to find image '{name}' locally"));
            }
            pull_image(app, client, &image, &platform, flags.quiet).await?;
            client.container_create(&flags.name, &platform, &request).await?
        }
        other => other?,
    };
    for warning in &created.warnings {
        print::err_line(format!("WARNING: {warning}"));
    }
    if let Some(config) = credentials {
        api_socket::deliver(client, &created.id, &config).await?;
    }
    cid_file.write(&created.id)?;
    Ok(created.id)
}

/// A name or an id.
fn check_image(image: &str) -> Result<()> {
    match image.parse::<Reference>() {
        Ok(_) | Err(spec::reference::InvalidReference::LooksLikeId(_)) => Ok(()),
        Err(error) => Err(Error::invalid(error.to_string())),
    }
}

fn is_missing_image(error: &client::Error, flags: &CreateFlags, image: &str) -> bool {
    error.is_not_found()
        && matches!(flags.pull.as_str(), "missing" | "")
        && error.to_string().contains("No such image")
        && image.parse::<Reference>().is_ok()
}

async fn pull_image(app: &App, client: &Client, image: &str, platform: &str, quiet: bool) -> Result<()> {
    let reference: Reference = image.parse().map_err(|error| Error::invalid(format!("{error}")))?;
    let output = if quiet { Output::Nowhere } else { Output::Stderr };
    pull::pull(app, client, &reference.or_latest(), platform, output).await
}

/// The flag, or `DOCKER_DEFAULT_PLATFORM`.
pub(crate) fn platform(flag: &str) -> String {
    if flag.is_empty() {
        crate::app::env("DOCKER_DEFAULT_PLATFORM").unwrap_or_default()
    } else {
        flag.to_owned()
    }
}

/// The proxies of `config.json`, for containers that do not set their own.
fn add_proxies(app: &App, request: &mut ContainerCreateRequest) -> Result<()> {
    let env = &mut request.config.env;
    for (name, value) in app.proxies()? {
        if !env.iter().any(|word| word.split('=').next() == Some(&name)) {
            env.push(format!("{name}={value}"));
        }
    }
    Ok(())
}

/// The file the id goes to. It must not exist, and does not stay if nothing is made.
struct CidFile {
    path: String,
    file: Option<std::fs::File>,
}

impl CidFile {
    fn open(path: &str) -> Result<Self> {
        if path.is_empty() {
            return Ok(Self { path: String::new(), file: None });
        }
        match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::invalid(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            ))),
            Err(error) => Err(Error::file("failed to create the container ID file", path)(error)),
        }
    }

    fn write(&mut self, id: &str) -> Result<()> {
        if let Some(mut file) = self.file.take() {
            let written = file.write_all(id.as_bytes());
            written.map_err(Error::file("failed to write the container ID to the file", &self.path))?;
        }
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            // Empty, and ours: nobody misses it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
