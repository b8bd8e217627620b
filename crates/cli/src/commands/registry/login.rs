//! `corten login` and `corten logout`.

use std::io::{BufRead as _, Read as _};
use std::ops::RangeInclusive;

use spec::api::{AuthConfig, AuthResponse};

use crate::app::{App, program};
use crate::credentials::HUB;
use crate::error::{Error, Result};
use crate::verb::Verb;
use crate::{print, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Password or access token
    #[arg(short, long)]
    password: Option<String>,
    /// Take the password from STDIN
    #[arg(long)]
    password_stdin: bool,
    /// User name
    #[arg(short, long, default_value = "")]
    username: String,
    server: Vec<String>,
}

impl Verb for Login {
    const USAGE: &'static str = "[OPTIONS] [SERVER]";
    const ABOUT: &'static str = "Authenticate to a registry";
    const WORDS: RangeInclusive<usize> = 0..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let server = server_key(self.server.first());
        let client = app.client().await?;
        if self.username.is_empty() && self.password.is_none() && !self.password_stdin {
            let stored = app.config()?.credentials(&server)?;
            if !stored.username.is_empty() || !stored.identitytoken.is_empty() {
                greet(&stored.username);
                match client.auth(&stored).await {
                    Ok(answer) => return keep(app, &server, stored, answer),
                    // They may be from long ago: asks for new ones.
                    Err(error) => print::err_line(format!("Login did not succeed, error: {error}")),
                }
            }
        }
        let mut auth = self.ask()?;
        auth.serveraddress.clone_from(&server);
        let answer = client.auth(&auth).await?;
        keep(app, &server, auth, answer)
    }
}

fn greet(user: &str) {
    let user = if user.is_empty() { String::new() } else { format!(" [Username: {user}]") };
    let program = program();
    print::err_line(format!(
        "Authenticating with existing credentials...{user}\n\n Info -> To login with a different account, run \
         '{program} logout' followed by '{program} login'\n\n"
    ));
}

/// Remembers credentials that the registry took.
fn keep(app: &App, server: &str, mut auth: AuthConfig, answer: AuthResponse) -> Result<u8> {
    if !answer.identity_token.is_empty() {
        auth.identitytoken = answer.identity_token;
        auth.password.clear();
    }
    let config = app.config()?;
    let stored = config.store(server, &auth);
    if stored.map_err(|error| Error::invalid(format!("Error saving credentials: {}", error.line())))? {
        print::err_line(format!(
            "\nWARNING! Your credentials are stored unencrypted in '{}'.\nConfigure a credential helper to remove \
             this warning. See\nhttps://docs.docker.com/go/credential-store/\n",
            config.path().display()
        ));
    }
    if !answer.status.is_empty() {
        print::line(answer.status);
    }
    Ok(0)
}

impl Login {
    /// The credentials from flags, from STDIN, or from the user.
    fn ask(&self) -> Result<AuthConfig> {
        let mut auth = AuthConfig { username: self.username.clone(), ..AuthConfig::default() };
        match (&self.password, self.password_stdin) {
            (Some(_), true) => {
                return Err(Error::invalid(
                    "conflicting options: cannot specify both --password and --password-stdin",
                ));
            }
            (Some(password), false) => {
                print::err_line("WARNING! Using --password via the CLI is insecure. Use --password-stdin.");
                auth.password.clone_from(password);
            }
            (None, true) => {
                if self.username.is_empty() {
                    return Err(Error::invalid("the --password-stdin option requires --username to be set"));
                }
                let mut text = String::new();
                std::io::stdin()
                    .lock()
                    .take(1 << 20)
                    .read_to_string(&mut text)
                    .map_err(|source| Error::Io { what: "cannot read the password", source })?;
                auth.password = text.trim_end_matches(['\r', '\n']).to_owned();
            }
            (None, false) => {
                if !terminal::stdin_is_terminal() {
                    return Err(Error::invalid(
                        "Error: Cannot perform an interactive login from a non TTY device",
                    ));
                }
                if auth.username.is_empty() {
                    print::out("Username: ");
                    auth.username = read_line()?;
                }
                print::out("Password: ");
                let silent = terminal::Silent::enter()
                    .map_err(|source| Error::Io { what: "cannot turn echo off", source })?;
                auth.password = read_line()?;
                drop(silent);
                print::out("\n");
            }
        }
        if auth.username.is_empty() || auth.password.is_empty() {
            return Err(Error::invalid("username and password must not be empty"));
        }
        Ok(auth)
    }
}

fn read_line() -> Result<String> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    read.map_err(|source| Error::Io { what: "cannot read from the terminal", source })?;
    Ok(line.trim().to_owned())
}

/// The key of a registry's credentials in `config.json`.
fn server_key(server: Option<&String>) -> String {
    match server.map(String::as_str) {
        None | Some("" | "docker.io" | "index.docker.io" | "registry-1.docker.io") => HUB.into(),
        Some(server) => {
            let host = server.split_once("://").map_or(server, |(_, rest)| rest);
            host.split('/').next().unwrap_or(host).to_owned()
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    server: Vec<String>,
}

impl Verb for Logout {
    const USAGE: &'static str = "[SERVER]";
    const ABOUT: &'static str = "Log out from a registry";
    const WORDS: RangeInclusive<usize> = 0..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let server = server_key(self.server.first());
        print::line(format!("Removing login credentials for {server}"));
        app.config()?.erase(&server)?;
        Ok(0)
    }
}
