//! `corten images` as Docker 29 shows it: one line for each name, below it the platforms if asked for, and below each what
//! is here of statements about it.

use spec::Reference;
use spec::api::{ImageManifestSummary, ImageProperties, ImageSummary, Platform};

use crate::list::short_id;
use crate::units;

/// One line: name or platform, id, disk usage, content size, extra.
struct Line {
    cells: [String; 5],
    is_child: bool,
}

const TITLES: [&str; 5] = ["IMAGE", "ID", "DISK USAGE", "CONTENT SIZE", "EXTRA"];
/// Sizes stand at the right of their columns.
const RIGHT: [bool; 5] = [false, false, true, true, false];

/// The images as text. Those without a name are shown only with `all`.
pub(super) fn draw(images: &[ImageSummary], platforms: bool, all: bool) -> String {
    let lines: Vec<Line> = images.iter().flat_map(|image| lines(image, platforms, all)).collect();
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| line.cells[column].chars().count());
        cells.chain([TITLES[column].len()]).max().unwrap_or_default()
    });
    let mut out = row(&TITLES.map(str::to_owned), &widths);
    for (at, line) in lines.iter().enumerate() {
        // A tree is set apart from what is above it.
        if platforms && at > 0 && !line.is_child {
            out.push('\n');
        }
        out.push_str(&row(&line.cells, &widths));
    }
    out
}

fn row(cells: &[String; 5], widths: &[usize; 5]) -> String {
    let mut line = String::new();
    for (column, cell) in cells.iter().enumerate() {
        let width = widths[column];
        let padded = if RIGHT[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
        line.push_str(&padded);
        line.push_str("   ");
    }
    format!("{}\n", line.trim_end())
}

fn lines(image: &ImageSummary, platforms: bool, all: bool) -> Vec<Line> {
    let mut names: Vec<String> = image
        .repo_tags
        .iter()
        .filter_map(|tag| tag.parse::<Reference>().ok())
        .map(|tag| format!("{}:{}", tag.familiar_repository(), tag.tag.unwrap_or_default()))
        .filter(|name| name != "<none>:<none>")
        .collect();
    if names.is_empty() {
        let by_digest = image.repo_digests.iter().find_map(|digest| digest.parse::<Reference>().ok());
        names.extend(by_digest.map(|digest| digest.familiar_repository()));
    }
    if names.is_empty() {
        if !all {
            return Vec::new();
        }
        names.push("<untagged>".into());
    }
    let children: Vec<(&ImageManifestSummary, &ImageProperties)> = image
        .manifests
        .iter()
        .filter_map(|manifest| Some((manifest, manifest.image_data.as_ref()?)))
        .collect();
    let content: i64 = image.manifests.iter().map(|manifest| manifest.size.content).sum();
    let in_use = image.containers > 0 || children.iter().any(|(_, data)| !data.containers.is_empty());
    let extra = |used: bool| if used { "U".to_owned() } else { String::new() };
    let mut lines = Vec::new();
    for name in names {
        let cells = [
            name,
            short_id(&image.id).to_owned(),
            units::human_size_3(image.size),
            units::human_size_3(content),
            extra(in_use),
        ];
        lines.push(Line { cells, is_child: false });
    }
    for (at, (manifest, data)) in children.iter().enumerate().filter(|_| platforms) {
        let (branch, trunk) = if at + 1 == children.len() { ("└─", "  ") } else { ("├─", "│ ") };
        let name = format!("{branch} {}", platform(&data.platform));
        lines.push(child(name, manifest, extra(!data.containers.is_empty())));
        let about = |m: &&ImageManifestSummary| {
            m.available && m.attestation_data.as_ref().is_some_and(|data| data.r#for == manifest.id)
        };
        let about: Vec<_> = image.manifests.iter().filter(about).collect();
        for (at, attestation) in about.iter().enumerate() {
            let branch = if at + 1 == about.len() { "└─" } else { "├─" };
            lines.push(child(format!("{trunk} {branch} attestation"), attestation, String::new()));
        }
    }
    lines
}

fn child(name: String, manifest: &ImageManifestSummary, extra: String) -> Line {
    let size = manifest.size;
    let (total, content) = (units::human_size_3(size.total), units::human_size_3(size.content));
    Line { cells: [name, short_id(&manifest.id).to_owned(), total, content, extra], is_child: true }
}

/// `linux/arm64/v8`
fn platform(platform: &Platform) -> String {
    let parts = [&platform.os, &platform.architecture, &platform.variant];
    parts.map(String::as_str).into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use spec::api::AttestationProperties;

    use super::*;

    #[test]
    fn names_platforms_and_use() {
        let manifest = |arch: &str, containers: &[&str]| -> ImageManifestSummary {
            let digest = format!("sha256:{}", arch.replace("amd64", "a0").replace("arm64", "b0").repeat(32));
            serde_json::from_value(serde_json::json!({
                "ID": digest, "Kind": "image", "Available": true,
                "Descriptor": { "mediaType": "", "digest": digest, "size": 1 },
                "Size": { "Content": 2_000_000, "Total": 6_500_000 },
                "ImageData": { "Platform": { "os": "linux", "architecture": arch }, "Containers": containers },
            }))
            .unwrap()
        };
        let mut attestation = manifest("amd64", &[]);
        attestation.id = "sha256:cccccccccccc".into();
        attestation.image_data = None;
        attestation.attestation_data = Some(AttestationProperties { r#for: manifest("amd64", &[]).id });
        let absent = ImageManifestSummary { available: false, id: "sha256:dd".into(), ..attestation.clone() };
        let image = ImageSummary {
            id: format!("sha256:{}", "ab".repeat(32)),
            repo_tags: vec!["docker.io/library/busybox:latest".into()],
            size: 6_500_000,
            manifests: vec![manifest("amd64", &["c"]), manifest("arm64", &[]), attestation, absent],
            ..ImageSummary::default()
        };
        let dangling = ImageSummary { id: "sha256:00".into(), ..ImageSummary::default() };
        let images = [image, dangling];
        assert_eq!(
            draw(&images, false, false),
            "IMAGE            ID             DISK USAGE   CONTENT SIZE   EXTRA\n\
             busybox:latest   abababababab        6.5MB            8MB   U\n"
        );
        assert_eq!(
            draw(&images, true, false).lines().skip(2).collect::<Vec<_>>(),
            [
                "├─ linux/amd64      a0a0a0a0a0a0        6.5MB            2MB   U",
                "│  └─ attestation   cccccccccccc        6.5MB            2MB",
                "└─ linux/arm64      b0b0b0b0b0b0        6.5MB            2MB",
            ]
        );
        assert!(draw(&images, false, true).contains("<untagged>"));
    }
}
