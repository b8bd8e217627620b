//! `corten info`.

use std::ops::RangeInclusive;

use super::prune::texts;
use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::list::object;
use crate::plugin::{self, Metadata};
use crate::template::Template;
use crate::verb::Verb;
use crate::{print, units};

#[derive(Debug, clap::Args)]
pub(crate) struct Info {
    /// Format output with a template, or "json"
    #[arg(short, long, default_value = "")]
    format: String,
}

impl Verb for Info {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Display system-wide information";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let template = match self.format.as_str() {
            "" => None,
            "json" => Some(Template::parse("{{json .}}")?),
            format => Some(Template::parse(format)?),
        };
        let answer = async {
            let bytes = app.client().await?.info_raw().await?;
            Json::parse(&bytes)
                .map_err(|error| Error::invalid(format!("the daemon's answer is no JSON: {error}")))
        };
        if let Some(template) = template {
            let Json::Object(mut info) = answer.await? else { return Err(Error::invalid("no information")) };
            info.push(("ClientInfo".into(), client_info(app)?));
            print::line(template.render(&Json::Object(info))?);
            return Ok(0);
        }
        print::out(describe_client(app)?);
        let info = match answer.await {
            Ok(info) => info,
            Err(error) => {
                print::err_line(format!("ERROR: {}", error.line()));
                return Err(Error::Exit { code: 1, message: "errors pretty printing info".into() });
            }
        };
        print::out(describe(&info));
        for warning in texts(info.items(&["Warnings"])) {
            print::err_line(warning);
        }
        Ok(0)
    }
}

fn client_info(app: &App) -> Result<Json> {
    let plugins = plugin::list(app.config()?);
    let plugins = plugins.iter().filter_map(|plugin| {
        let metadata = plugin.metadata.as_ref().ok()?;
        Some(object(vec![
            ("SchemaVersion", metadata.schema_version.as_str().into()),
            ("Vendor", metadata.vendor.as_str().into()),
            ("Version", metadata.version.as_str().into()),
            ("ShortDescription", metadata.short_description.as_str().into()),
            ("Name", plugin.name.as_str().into()),
            ("Path", plugin.path.display().to_string().into()),
        ]))
    });
    Ok(object(vec![
        ("Debug", app.globals().debug.into()),
        ("Version", env!("CARGO_PKG_VERSION").into()),
        ("DefaultAPIVersion", spec::api::API_VERSION.into()),
        ("Context", app.context()?.into()),
        ("Plugins", Json::List(plugins.collect())),
        ("Warnings", Json::Null),
    ]))
}

fn describe_client(app: &App) -> Result<String> {
    let mut out = format!(
        "Client: Corten\n Version:    {}\n Context:    {}\n Debug Mode: {}\n",
        env!("CARGO_PKG_VERSION"),
        app.context()?,
        app.globals().debug
    );
    let (mut listed, mut warnings) = (String::new(), String::new());
    for plugin in plugin::list(app.config()?) {
        let path = plugin.path.display();
        match plugin.metadata {
            Ok(Metadata { vendor, version, short_description, .. }) => listed.push_str(&format!(
                "  {}: {short_description} ({vendor})\n    Version:  {version}\n    Path:     {path}\n",
                plugin.name
            )),
            Err(error) => warnings.push_str(&format!("WARNING: Plugin \"{path}\" is not valid: {error}\n")),
        }
    }
    if !listed.is_empty() {
        out.push_str(&format!(" Plugins:\n{listed}"));
    }
    print::err(warnings);
    out.push_str("\nServer:\n");
    Ok(out)
}

fn describe(info: &Json) -> String {
    let mut out = String::new();
    let mut line = |depth: usize, label: &str, value: String| {
        out.push_str(&format!("{:depth$}{label}: {value}\n", ""));
    };
    let text = |key: &str| info.text(&[key]).to_owned();
    let number = |key: &str| info.int(&[key]).to_string();
    line(1, "Containers", number("Containers"));
    line(2, "Running", number("ContainersRunning"));
    line(2, "Paused", number("ContainersPaused"));
    line(2, "Stopped", number("ContainersStopped"));
    line(1, "Images", number("Images"));
    line(1, "Server Version", text("ServerVersion"));
    line(1, "Storage Driver", text("Driver"));
    for pair in info.items(&["DriverStatus"]) {
        if let [label, value] = texts(pair.items(&[])).as_slice() {
            line(2, label, value.clone());
        }
    }
    line(1, "Logging Driver", text("LoggingDriver"));
    line(1, "Cgroup Driver", text("CgroupDriver"));
    line(1, "Cgroup Version", text("CgroupVersion"));
    out.push_str(" Plugins:\n");
    for (label, key) in
        [("Volume", "Volume"), ("Network", "Network"), ("Authorization", "Authorization"), ("Log", "Log")]
    {
        let names = texts(info.items(&["Plugins", key]));
        if !names.is_empty() {
            out.push_str(&format!("  {label}: {}\n", names.join(" ")));
        }
    }
    let mut line = |depth: usize, label: &str, value: String| {
        out.push_str(&format!("{:depth$}{label}: {value}\n", ""));
    };
    let swarm = info.text(&["Swarm", "LocalNodeState"]);
    line(1, "Swarm", if swarm.is_empty() { "inactive".into() } else { swarm.to_owned() });
    let runtimes: Vec<_> = info.members(&["Runtimes"]).iter().map(|(name, _)| name.as_str()).collect();
    line(1, "Runtimes", runtimes.join(" "));
    line(1, "Default Runtime", text("DefaultRuntime"));
    line(1, "Init Binary", text("InitBinary"));
    for (label, key) in [
        ("containerd version", "ContainerdCommit"),
        ("runc version", "RuncCommit"),
        ("init version", "InitCommit"),
    ] {
        line(1, label, info.text(&[key, "ID"]).to_owned());
    }
    out.push_str(&security(&texts(info.items(&["SecurityOptions"]))));
    let mut line = |depth: usize, label: &str, value: String| {
        out.push_str(&format!("{:depth$}{label}: {value}\n", ""));
    };
    line(1, "Kernel Version", text("KernelVersion"));
    line(1, "Operating System", text("OperatingSystem"));
    line(1, "OSType", text("OSType"));
    line(1, "Architecture", text("Architecture"));
    line(1, "CPUs", number("NCPU"));
    line(1, "Total Memory", units::bytes_size(info.int(&["MemTotal"])));
    line(1, "Name", text("Name"));
    line(1, "ID", text("ID"));
    line(1, "Docker Root Dir", text("DockerRootDir"));
    line(1, "Debug Mode", info.flag(&["Debug"]).to_string());
    for (label, key) in [("HTTP Proxy", "HttpProxy"), ("HTTPS Proxy", "HttpsProxy"), ("No Proxy", "NoProxy")]
    {
        if !info.text(&[key]).is_empty() {
            line(1, label, text(key));
        }
    }
    let labels = texts(info.items(&["Labels"]));
    if !labels.is_empty() {
        line(1, "Labels", String::new());
        labels.iter().for_each(|label| out.push_str(&format!("  {label}\n")));
    }
    out.push_str(&format!(" Experimental: {}\n", info.flag(&["ExperimentalBuild"])));
    let insecure = texts(info.items(&["RegistryConfig", "InsecureRegistryCIDRs"]));
    if !insecure.is_empty() {
        out.push_str(" Insecure Registries:\n");
        insecure.iter().for_each(|range| out.push_str(&format!("  {range}\n")));
    }
    let mirrors = texts(info.items(&["RegistryConfig", "Mirrors"]));
    if !mirrors.is_empty() {
        out.push_str(" Registry Mirrors:\n");
        mirrors.iter().for_each(|mirror| out.push_str(&format!("  {mirror}\n")));
    }
    out.push_str(&format!(" Live Restore Enabled: {}\n\n", info.flag(&["LiveRestoreEnabled"])));
    out
}

/// `name=seccomp,profile=default` on two lines.
fn security(options: &[String]) -> String {
    let mut out = String::new();
    if options.is_empty() {
        return out;
    }
    out.push_str(" Security Options:\n");
    for option in options {
        for field in option.split(',') {
            match field.split_once('=') {
                Some(("name", name)) => out.push_str(&format!("  {name}\n")),
                Some(("profile", profile)) => out.push_str(&format!("   Profile: {profile}\n")),
                Some((key, value)) => out.push_str(&format!("   {key}: {value}\n")),
                None => out.push_str(&format!("  {field}\n")),
            }
        }
    }
    out
}
