//! `corten system df`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::list::{Kind, ellipsis, row, short_id};
use crate::verb::Verb;
use crate::{print, time, units};

#[derive(Debug, clap::Args)]
pub(crate) struct DiskUsage {
    /// Format output with a template, "table", "table TEMPLATE" or "json"
    #[arg(long)]
    format: Option<String>,
    /// Show every object
    #[arg(short, long)]
    verbose: bool,
}

const KIND: Kind = Kind {
    table: "table {{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
    quiet: "{{.Type}}",
    headers: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
};

impl Verb for DiskUsage {
    const USAGE: &'static str = "[OPTIONS]";
    const ABOUT: &'static str = "Show disk usage";
    const WORDS: RangeInclusive<usize> = 0..=0;

    async fn run(self, app: &App) -> Result<u8> {
        let bytes = app.client().await?.disk_usage_raw().await?;
        let usage = Json::parse(&bytes)
            .map_err(|error| Error::invalid(format!("the daemon's answer is no JSON: {error}")))?;
        if self.verbose {
            return verbose(&usage);
        }
        let rows =
            [images(&usage), containers(&usage), volumes(&usage), cache(&usage)].into_iter().map(|line| {
                let share = if line.size > 0 {
                    format!(" ({}%)", i128::from(line.reclaimable) * 100 / i128::from(line.size))
                } else {
                    String::new()
                };
                // Docker gives no share of the build cache.
                let share = if line.kind == "Build Cache" { String::new() } else { share };
                row(vec![
                    ("Active", line.active.to_string().into()),
                    ("Reclaimable", format!("{}{share}", units::human_size(line.reclaimable)).into()),
                    ("Size", units::human_size(line.size).into()),
                    ("TotalCount", line.total.to_string().into()),
                    ("Type", line.kind.into()),
                ])
            });
        KIND.show(self.format.as_deref(), None, false, rows)?;
        let total = usage.int(&["DataRoot", "Total"]);
        if self.format.is_none() && total > 0 {
            let path = usage.text(&["DataRoot", "Path"]);
            print::line(format!("\nOn disk: {} in {path} (-v says of what)", units::human_size(total)));
        }
        Ok(0)
    }
}

/// One line of the summary.
struct Line {
    kind: &'static str,
    total: usize,
    active: usize,
    size: i64,
    reclaimable: i64,
}

fn images(usage: &Json) -> Line {
    let images = usage.items(&["Images"]);
    let used = |image: &&Json| image.int(&["Containers"]) > 0;
    let size = usage.int(&["LayersSize"]);
    let kept: i64 = images
        .iter()
        .filter(used)
        .filter(|image| image.int(&["Size"]) != -1 && image.int(&["SharedSize"]) != -1)
        .map(|image| image.int(&["Size"]) - image.int(&["SharedSize"]))
        .sum();
    Line {
        kind: "Images",
        total: images.len(),
        active: images.iter().filter(used).count(),
        size,
        reclaimable: size - kept,
    }
}

fn containers(usage: &Json) -> Line {
    let containers = usage.items(&["Containers"]);
    let active = |c: &&Json| matches!(c.text(&["State"]), "running" | "paused" | "restarting");
    let size = |c: &Json| c.int(&["SizeRw"]);
    Line {
        kind: "Containers",
        total: containers.len(),
        active: containers.iter().filter(active).count(),
        size: containers.iter().map(size).sum(),
        reclaimable: containers.iter().filter(|c| !active(c)).map(size).sum(),
    }
}

fn volumes(usage: &Json) -> Line {
    let volumes = usage.items(&["Volumes"]);
    let active = |v: &&Json| v.int(&["UsageData", "RefCount"]) > 0;
    let size = |v: &Json| v.int(&["UsageData", "Size"]).max(0);
    Line {
        kind: "Local Volumes",
        total: volumes.len(),
        active: volumes.iter().filter(active).count(),
        size: volumes.iter().map(size).sum(),
        reclaimable: volumes.iter().filter(|v| !active(v)).map(size).sum(),
    }
}

fn cache(usage: &Json) -> Line {
    let records = usage.items(&["BuildCache"]);
    let own = |r: &&Json| !r.flag(&["Shared"]);
    let size = |r: &Json| r.int(&["Size"]);
    Line {
        kind: "Build Cache",
        total: records.len(),
        active: records.iter().filter(|r| r.flag(&["InUse"])).count(),
        size: records.iter().filter(own).map(size).sum(),
        reclaimable: records.iter().filter(own).filter(|r| !r.flag(&["InUse"])).map(size).sum(),
    }
}

/// What Corten's daemon says of all that is on disk; nothing from another daemon.
fn data_root(usage: &Json) -> String {
    let size = |part: &str| usage.int(&["DataRoot", part]);
    if size("Total") == 0 {
        return String::new();
    }
    let mut table = String::from("PART\tSIZE\tBYTES\n");
    for (name, part) in [
        ("Image content", "Blobs"),
        ("Arriving content", "Ingest"),
        ("Unpacked layers", "Layers"),
        ("Writable layers", "WritableLayers"),
        ("Container records", "Containers"),
        ("Logs", "Logs"),
        ("Volumes", "Volumes"),
        ("Build cache records and mounts", "BuildCache"),
        ("Networks", "Networks"),
        ("Other", "Other"),
        ("Total", "Total"),
    ] {
        table.push_str(&format!("{name}\t{}\t{}\n", units::human_size(size(part)), size(part)));
    }
    let path = usage.text(&["DataRoot", "Path"]);
    format!("\nOn disk, in {path}:\n\n{}", crate::table::align(&table))
}

/// Four tables, each object on a line.
fn verbose(usage: &Json) -> Result<u8> {
    let mut out = String::from("Images space usage:\n\n");
    let mut table =
        String::from("REPOSITORY\tTAG\tIMAGE ID\tCREATED\tSIZE\tSHARED SIZE\tUNIQUE SIZE\tCONTAINERS\n");
    for image in usage.items(&["Images"]) {
        let name = image.items(&["RepoTags"]).first().map_or("<none>:<none>", |tag| tag.text(&[]));
        let (repository, tag) = name.rsplit_once(':').unwrap_or((name, "<none>"));
        let (size, shared) = (image.int(&["Size"]), image.int(&["SharedSize"]).max(0));
        table.push_str(&format!(
            "{repository}\t{tag}\t{}\t{}\t{}\t{}\t{}\t{}\n",
            short_id(image.text(&["Id"])),
            time::ago(image.int(&["Created"])),
            units::human_size_3(size),
            units::human_size(shared),
            units::human_size(size - shared),
            image.int(&["Containers"]),
        ));
    }
    out.push_str(&crate::table::align(&table));
    out.push_str("\nContainers space usage:\n\n");
    let mut table =
        String::from("CONTAINER ID\tIMAGE\tCOMMAND\tLOCAL VOLUMES\tSIZE\tCREATED\tSTATUS\tNAMES\n");
    for container in usage.items(&["Containers"]) {
        let names: Vec<_> =
            container.items(&["Names"]).iter().map(|name| name.text(&[]).trim_start_matches('/')).collect();
        let local = container.items(&["Mounts"]).iter().filter(|m| m.text(&["Driver"]) == "local").count();
        table.push_str(&format!(
            "{}\t{}\t\"{}\"\t{local}\t{}\t{}\t{}\t{}\n",
            short_id(container.text(&["Id"])),
            container.text(&["Image"]),
            ellipsis(container.text(&["Command"]), 20),
            units::human_size_3(container.int(&["SizeRw"])),
            time::ago(container.int(&["Created"])),
            container.text(&["Status"]),
            names.join(","),
        ));
    }
    out.push_str(&crate::table::align(&table));
    out.push_str("\nLocal Volumes space usage:\n\n");
    let mut table = String::from("VOLUME NAME\tLINKS\tSIZE\n");
    for volume in usage.items(&["Volumes"]) {
        table.push_str(&format!(
            "{}\t{}\t{}\n",
            volume.text(&["Name"]),
            volume.int(&["UsageData", "RefCount"]),
            units::human_size(volume.int(&["UsageData", "Size"]).max(0)),
        ));
    }
    out.push_str(&crate::table::align(&table));
    out.push_str(&format!("\nBuild cache usage: {}\n\n", units::human_size(cache(usage).size)));
    let mut table = String::from("CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n");
    for record in usage.items(&["BuildCache"]) {
        let last = match record.text(&["LastUsedAt"]) {
            "" => String::new(),
            text => time::ago(time::seconds(text)),
        };
        table.push_str(&format!(
            "{}\t{}\t{}\t{}\t{last}\t{}\t{}\n",
            short_id(record.text(&["ID"])),
            record.text(&["Type"]),
            units::human_size(record.int(&["Size"])),
            time::ago(time::seconds(record.text(&["CreatedAt"]))),
            record.int(&["UsageCount"]),
            record.flag(&["Shared"]),
        ));
    }
    out.push_str(&crate::table::align(&table));
    out.push_str(&data_root(usage));
    print::out(out);
    Ok(0)
}
