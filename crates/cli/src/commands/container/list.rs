//! `corten ps`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde::de::IgnoredAny;
use spec::Reference;
use spec::api::{MountPoint, PortSummary, SummaryHealth};

use crate::app::App;
use crate::error::Result;
use crate::flags::filter;
use crate::json::Json;
use crate::list::{Kind, Layout, ellipsis, labels, short_id};
use crate::verb::Verb;
use crate::{print, time, units};

#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Show only what matches (e.g. "status=exited")
    #[arg(short, long, value_name = "filter", value_parser = filter::word)]
    filter: Vec<String>,
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show the newest containers, this many of them (includes all states)
    #[arg(short = 'n', long, default_value_t = -1, value_name = "int")]
    last: i64,
    /// Show the newest container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

const HEADERS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("HealthStatus", "HEALTH STATUS"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

const KIND: Kind = Kind {
    table: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
    quiet: "{{.ID}}",
    headers: HEADERS,
};

/// `--format raw`: a field a line.
const RAW: &str = "container_id: {{.ID}}\nimage: {{.Image}}\ncommand: {{.Command}}\ncreated_at: {{.CreatedAt}}\nstate: \
                   {{.State}}\nstatus: {{.Status}}\nnames: {{.Names}}\nlabels:{{with .Labels}} {{.}}{{end}}\nports:{{with .Ports}} {{.}}{{end}}\n";

/// The same with sizes.
const SIZED: Kind = Kind {
    table: "table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}",
    quiet: "{{.ID}}",
    headers: HEADERS,
};

/// What is shown of a `ContainerSummary`: the rest of a long list is skipped faster than it is read.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Vec<PortSummary>,
    size_rw: Option<i64>,
    size_root_fs: Option<i64>,
    labels: BTreeMap<String, String>,
    state: String,
    status: String,
    network_settings: ListedNetworks,
    mounts: Vec<MountPoint>,
    health: Option<SummaryHealth>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ListedNetworks {
    networks: BTreeMap<String, IgnoredAny>,
}

impl Verb for List {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "List containers";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let filters = filter::filters(&self.filter)?;
        if self.quiet && self.format.as_ref().is_some_and(|format| !format.is_empty()) {
            print::err_line("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        }
        let last = if self.latest && self.last == -1 { 1 } else { self.last };
        let limit = Some(last).filter(|last| *last > 0);
        let configured = if self.format.is_none() && !self.quiet {
            app.config()?.text("psFormat").map(str::to_owned)
        } else {
            None
        };
        let shown = self.format.as_deref().or(configured.as_deref()).unwrap_or_default();
        // Sizes are slow to find out: only for those who look at them.
        let size = self.size || shown.contains(".Size") || shown.contains("{{json .}}");
        let kind = if self.size { &SIZED } else { &KIND };
        let format = match self.format.as_deref() {
            Some("raw") if self.quiet => Some("container_id: {{.ID}}"),
            Some(_) if self.quiet => None,
            Some("raw") => Some(RAW),
            format => format,
        };
        let layout = kind.layout(format, configured.as_deref(), self.quiet)?;
        let line = |container: Listed| layout.line(&fields(&layout, &container, !self.no_trunc));
        let client = app.client().await?;
        let lines = client.container_list_map(self.all, limit, size, &filters, line).await?;
        print::out(layout.text(lines)?);
        Ok(0)
    }
}

fn fields(layout: &Layout<'_>, container: &Listed, trunc: bool) -> Json {
    let command = || if trunc { ellipsis(&container.command, 20) } else { container.command.clone() };
    let health = || container.health.as_ref().map_or("", |health| health.status.as_str());
    let local = || container.mounts.iter().filter(|mount| mount.driver == "local").count();
    let id = || if trunc { short_id(&container.id) } else { &container.id };
    layout.row(&[
        ("Command", &|| go_quote(&command()).into()),
        ("CreatedAt", &|| time::full(container.created).into()),
        ("HealthStatus", &|| health().into()),
        ("ID", &|| id().into()),
        ("Image", &|| image(container, trunc).into()),
        ("Labels", &|| labels(&container.labels).0),
        ("LocalVolumes", &|| local().to_string().into()),
        ("Mounts", &|| mounts(container, trunc).into()),
        ("Names", &|| names(container, trunc).into()),
        ("Networks", &|| networks(container).into()),
        ("Platform", &|| Json::Null),
        ("Ports", &|| ports(&container.ports).into()),
        ("RunningFor", &|| time::ago(container.created).into()),
        ("Size", &|| size(container).into()),
        ("State", &|| container.state.as_str().into()),
        ("Status", &|| container.status.as_str().into()),
        ("\0labels", &|| labels(&container.labels).1),
    ])
}

fn names(container: &Listed, trunc: bool) -> String {
    let names = container.names.iter().map(|name| name.strip_prefix('/').unwrap_or(name));
    // A name with a slash inside is a link's.
    names.filter(|name| !trunc || !name.contains('/')).collect::<Vec<_>>().join(",")
}

fn mounts(container: &Listed, trunc: bool) -> String {
    let names =
        container.mounts.iter().map(|mount| if mount.name.is_empty() { &mount.source } else { &mount.name });
    names.map(|name| if trunc { ellipsis(name, 15) } else { name.clone() }).collect::<Vec<_>>().join(",")
}

fn networks(container: &Listed) -> String {
    container.network_settings.networks.keys().map(String::as_str).collect::<Vec<_>>().join(",")
}

fn image(container: &Listed, trunc: bool) -> String {
    match container.image.as_str() {
        "" => "<no image>".into(),
        image if !trunc => image.to_owned(),
        image => {
            let short = short_id(&container.image_id);
            if !short.is_empty() && short_id(image) == short {
                return short.to_owned();
            }
            match image.parse::<Reference>() {
                // A tag says enough.
                Ok(mut reference) if reference.tag.is_some() && reference.digest.is_some() => {
                    reference.digest = None;
                    reference.familiar()
                }
                Ok(_) | Err(_) => image.to_owned(),
            }
        }
    }
}

fn size(container: &Listed) -> String {
    let own = units::human_size_3(container.size_rw.unwrap_or(0));
    match container.size_root_fs {
        Some(all) if all > 0 => format!("{own} (virtual {})", units::human_size_3(all)),
        Some(_) | None => own,
    }
}

/// Go's `strconv.Quote`.
fn go_quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// `0.0.0.0:8080->80/tcp, 443/tcp`: neighbouring ports of one address are shown as a range.
pub(crate) fn ports(ports: &[PortSummary]) -> String {
    let mut ports: Vec<&PortSummary> = ports.iter().collect();
    ports.sort_by(|a, b| {
        (a.private_port, &a.ip, a.public_port, &a.r#type).cmp(&(
            b.private_port,
            &b.ip,
            b.public_port,
            &b.r#type,
        ))
    });
    let (mut done, mut mapped) = (Vec::new(), Vec::new());
    // The open range of each address and protocol.
    let mut open: Vec<(Key<'_>, (u16, u16))> = Vec::new();
    for port in ports {
        let here = port.private_port;
        if !port.ip.is_empty() && port.public_port != here {
            mapped.push(format!("{}->{here}/{}", join(&port.ip, &port.public_port.to_string()), port.r#type));
            continue;
        }
        let key = (port.ip.as_str(), port.r#type.as_str());
        match open.iter_mut().find(|(k, _)| *k == key) {
            None => open.push((key, (here, here))),
            Some((_, (_, last))) if here == *last + 1 => *last = here,
            Some((_, range)) => {
                done.push(group(key, *range));
                *range = (here, here);
            }
        }
    }
    done.extend(open.into_iter().map(|(key, range)| group(key, range)));
    done.extend(mapped);
    done.join(", ")
}

/// An address and a protocol.
type Key<'a> = (&'a str, &'a str);

fn group((ip, protocol): Key<'_>, (first, last): (u16, u16)) -> String {
    let range = if first == last { first.to_string() } else { format!("{first}-{last}") };
    if ip.is_empty() {
        format!("{range}/{protocol}")
    } else {
        format!("{}->{range}/{protocol}", join(ip, &range))
    }
}

fn join(ip: &str, port: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_grouped() {
        let port = |ip: &str, private_port, public_port, kind: &str| PortSummary {
            ip: ip.into(),
            private_port,
            public_port,
            r#type: kind.into(),
        };
        for (list, text) in [
            (vec![port("", 80, 0, "tcp")], "80/tcp"),
            (
                vec![port("", 81, 0, "tcp"), port("", 80, 0, "tcp"), port("", 90, 0, "udp")],
                "80-81/tcp, 90/udp",
            ),
            (
                vec![port("0.0.0.0", 80, 8080, "tcp"), port("::", 80, 8080, "tcp")],
                "0.0.0.0:8080->80/tcp, [::]:8080->80/tcp",
            ),
            (
                vec![port("0.0.0.0", 80, 80, "tcp"), port("0.0.0.0", 81, 81, "tcp")],
                "0.0.0.0:80-81->80-81/tcp",
            ),
            (vec![port("", 80, 0, "tcp"), port("", 85, 0, "tcp")], "80/tcp, 85/tcp"),
        ] {
            assert_eq!(ports(&list), text);
        }
    }
}
