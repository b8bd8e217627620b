//! `corten version`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::list::object;
use crate::print;
use crate::template::Template;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Version {
    /// Show the client's version only
    #[arg(long)]
    client: bool,
    /// Format output with a template, or "json"
    #[arg(short, long, default_value = "")]
    format: String,
}

impl Verb for Version {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Show the version information of client and server";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let template = match self.format.as_str() {
            "" => None,
            "json" => Some(Template::parse("{{json .}}")?),
            format => Some(Template::parse(format)?),
        };
        let (server, api, error) = if self.client {
            (Json::Null, spec::api::API_VERSION.to_owned(), None)
        } else {
            match server(app).await {
                Ok((server, api)) => (server, api, None),
                // The client's own version is still worth knowing.
                Err(error) => (Json::Null, spec::api::API_VERSION.to_owned(), Some(error)),
            }
        };
        let client = client(&api, &app.context()?);
        match template {
            None => {
                let mut out = describe_client(&client);
                if server != Json::Null {
                    out.push_str(&describe_server(&server));
                }
                print::out(out);
            }
            Some(template) => {
                let data = object(vec![("Client", client), ("Server", server)]);
                print::line(template.render(&data)?);
            }
        }
        error.map_or(Ok(0), Err)
    }
}

async fn server(app: &App) -> Result<(Json, String)> {
    let client = app.client().await?;
    let bytes = client.version_raw().await?;
    let server = Json::parse(&bytes)
        .map_err(|error| Error::invalid(format!("the daemon's answer is no JSON: {error}")))?;
    Ok((server, client.api_version()))
}

fn client(api: &str, context: &str) -> Json {
    object(vec![
        ("Version", env!("CARGO_PKG_VERSION").into()),
        ("APIVersion", api.into()),
        ("ApiVersion", api.into()),
        ("DefaultAPIVersion", spec::api::API_VERSION.into()),
        ("Os", std::env::consts::OS.into()),
        ("Arch", architecture().into()),
        ("Context", context.into()),
    ])
}

/// Go's name for this machine's architecture.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn describe_client(client: &Json) -> String {
    let (api, own) = (client.text(&["APIVersion"]), client.text(&["DefaultAPIVersion"]));
    let downgraded = if api == own { String::new() } else { format!(" (downgraded from {own})") };
    format!(
        "Client: Corten\n Version:           {}\n API version:       {api}{downgraded}\n OS/Arch:           \
         {}/{}\n Context:           {}\n",
        client.text(&["Version"]),
        client.text(&["Os"]),
        client.text(&["Arch"]),
        client.text(&["Context"])
    )
}

/// A time as C's `asctime` writes it; what is no time stays as it is.
fn built(text: &str) -> String {
    text.parse::<jiff::Timestamp>()
        .map_or_else(|_| text.to_owned(), |time| time.strftime("%a %b %e %H:%M:%S %Y").to_string())
}

fn describe_server(server: &Json) -> String {
    let mut out = String::from("\nServer:");
    match server.text(&["Platform", "Name"]) {
        "" => {}
        name => out.push_str(&format!(" {name}")),
    }
    out.push('\n');
    for component in server.items(&["Components"]) {
        let name = component.text(&["Name"]);
        out.push_str(&format!(" {name}:\n  {:<17} {}\n", "Version:", component.text(&["Version"])));
        let detail = |key| component.text(&["Details", key]).to_owned();
        if name == "Engine" {
            let lines = [
                (
                    "API version:",
                    format!("{} (minimum version {})", detail("ApiVersion"), detail("MinAPIVersion")),
                ),
                ("Go version:", detail("GoVersion")),
                ("Git commit:", detail("GitCommit")),
                ("Built:", built(&detail("BuildTime"))),
                ("OS/Arch:", format!("{}/{}", detail("Os"), detail("Arch"))),
                ("Experimental:", detail("Experimental")),
            ];
            for (label, value) in lines.iter().filter(|(_, value)| !value.is_empty()) {
                out.push_str(&format!("  {label:<17} {value}\n"));
            }
        } else {
            for (key, value) in component.members(&["Details"]) {
                out.push_str(&format!("  {:<17} {}\n", format!("{key}:"), value.text(&[])));
            }
        }
    }
    if server.items(&["Components"]).is_empty() {
        out.push_str(&format!(
            " Engine:\n  {:<17} {}\n  {:<17} {} (minimum version {})\n",
            "Version:",
            server.text(&["Version"]),
            "API version:",
            server.text(&["ApiVersion"]),
            server.text(&["MinAPIVersion"])
        ));
    }
    out
}
