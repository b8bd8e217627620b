//! `--sbom`: the packages in an image's root as an SPDX document, read from the package managers' databases. No scanner
//! runs: nothing of the image is executed to learn what is in it.

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};
use spec::oci::image::Image;
use sys::root::Root;

use super::attest::Statement;
use crate::error::{Error, Result};
use crate::key::Hasher;

const PREDICATE: &str = "https://spdx.dev/Document";
/// A database is no larger, and there are no more packages.
const LARGEST: u64 = 256 << 20;
const MOST: usize = 200_000;

/// One installed package.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Package {
    /// `deb`, `apk`.
    kind: &'static str,
    name: String,
    version: String,
    architecture: String,
    maintainer: String,
    license: String,
    homepage: String,
    /// The source package it was built from, with its version where that is another.
    source: String,
}

/// The distribution, as os-release says it.
#[derive(Debug, Default)]
struct Release {
    id: String,
    version: String,
}

/// `--sbom`'s value: whether one is wanted.
///
/// # Errors
/// A generator is asked for, or what nobody knows.
pub fn read(text: &str) -> Result<bool> {
    match text {
        "" | "true" => Ok(true),
        "false" | "disabled" | "disabled=true" => Ok(false),
        text if text.contains("generator=") => Err(Error::Unsupported {
            step: "--sbom".into(),
            what: "a generator's image (packages are read by the builder itself with --sbom=true)".into(),
        }),
        other => Err(Error::Request(format!("invalid sbom {other:?}: expected true or false"))),
    }
}

/// What is installed in a root.
pub(crate) fn statement(root: &Root, image: &Image) -> Result<Statement> {
    let release = release(root)?;
    let mut packages = Vec::new();
    let mut status = read_if_exists(root, "var/lib/dpkg/status")?.unwrap_or_default();
    // One file for each package, where there is no package manager (distroless).
    if let Ok(dir) = root.dir("var/lib/dpkg/status.d") {
        for entry in dir.entries()? {
            let name = entry.name.to_string_lossy().into_owned();
            if !name.ends_with(".md5sums")
                && let Some(text) = read_if_exists(root, &format!("var/lib/dpkg/status.d/{name}"))?
            {
                status.push_str("\n\n");
                status.push_str(&text);
            }
        }
    }
    packages.extend(dpkg(&status));
    for path in ["lib/apk/db/installed", "usr/lib/apk/db/installed"] {
        if let Some(text) = read_if_exists(root, path)? {
            packages.extend(apk(&text));
            break;
        }
    }
    if packages.len() > MOST {
        return Err(Error::Request(format!("--sbom: more than {MOST} packages")));
    }
    packages
        .sort_by(|a, b| (&a.name, &a.architecture, &a.version).cmp(&(&b.name, &b.architecture, &b.version)));
    packages.dedup();
    // Told rather than passed over: the document does not say all.
    let unread = ["var/lib/rpm", "usr/lib/sysimage/rpm"].iter().any(|path| root.dir(path).is_ok());
    let content = document(&packages, &release, image, unread);
    Ok(Statement { predicate: PREDICATE, content, file: Some("sbom.spdx.json".into()) })
}

fn document(packages: &[Package], release: &Release, image: &Image, unread: bool) -> Value {
    let layers: Vec<String> = image.rootfs.diff_ids.iter().map(ToString::to_string).collect();
    let mut hasher = Hasher::default();
    for layer in &layers {
        hasher.field(layer.as_bytes());
    }
    let id = hasher.finish();
    let top = "SPDXRef-DocumentRoot-Image";
    let mut elements = vec![json!({
        "name": "image",
        "SPDXID": top,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": "NOASSERTION",
        "copyrightText": "NOASSERTION",
        "primaryPackagePurpose": "CONTAINER",
    })];
    let mut relationships = vec![relation("SPDXRef-DOCUMENT", "DESCRIBES", top)];
    for (number, package) in packages.iter().enumerate() {
        let id = format!("SPDXRef-Package-{}-{}-{number}", package.kind, plain(&package.name));
        relationships.push(relation(top, "CONTAINS", &id));
        elements.push(element(package, release, &id));
    }
    let mut creation = json!({
        "creators": [concat!("Tool: corten-", env!("CARGO_PKG_VERSION"))],
        "created": seconds(image.created.as_deref()),
    });
    if unread {
        creation["comment"] = "There is an rpm database, which was not read.".into();
    }
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": "sbom",
        "documentNamespace": format!("https://spdx.org/spdxdocs/sbom-{}", id.hex()),
        "creationInfo": creation,
        "packages": elements,
        "relationships": relationships,
    })
}

fn element(package: &Package, release: &Release, id: &str) -> Value {
    let or_nothing = |text: &str| if text.is_empty() { "NOASSERTION".to_owned() } else { text.to_owned() };
    let supplier = match package.maintainer.split_once('<') {
        Some((name, address)) => {
            format!("Organization: {} ({})", name.trim(), address.trim_end_matches('>').trim())
        }
        None if package.maintainer.is_empty() => "NOASSERTION".into(),
        None => format!("Organization: {}", package.maintainer),
    };
    // Only what SPDX itself would take for one.
    let is_expression = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || " .-+()".contains(c));
    let license = package.license.as_str();
    let mut element = json!({
        "name": package.name,
        "SPDXID": id,
        "versionInfo": package.version,
        "supplier": supplier,
        "downloadLocation": "NOASSERTION",
        "filesAnalyzed": false,
        "licenseConcluded": "NOASSERTION",
        "licenseDeclared": or_nothing(if is_expression(license) { license } else { "" }),
        "copyrightText": "NOASSERTION",
        "externalRefs": [{
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl(package, release),
        }],
    });
    if !package.homepage.is_empty() {
        element["homepage"] = package.homepage.clone().into();
    }
    if !package.source.is_empty() {
        element["sourceInfo"] = format!("built from source package {}", package.source).into();
    }
    if !is_expression(license) {
        element["licenseComments"] = license.into();
    }
    element
}

fn relation(from: &str, kind: &str, to: &str) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to })
}

/// `pkg:deb/debian/bash@5.2?arch=amd64&distro=debian-12`.
fn purl(package: &Package, release: &Release) -> String {
    let distribution = if release.id.is_empty() { "linux" } else { &release.id };
    let mut url = format!(
        "pkg:{}/{}/{}@{}",
        package.kind,
        escaped(distribution),
        escaped(&package.name),
        escaped(&package.version)
    );
    let mut parameters = BTreeMap::new();
    if !package.architecture.is_empty() {
        parameters.insert("arch", package.architecture.clone());
    }
    if !release.id.is_empty() {
        parameters.insert("distro", format!("{}-{}", release.id, release.version));
    }
    if !package.source.is_empty() {
        parameters.insert("upstream", package.source.clone());
    }
    for (number, (name, value)) in parameters.iter().enumerate() {
        url.push_str(&format!("{}{name}={}", if number == 0 { "?" } else { "&" }, escaped(value)));
    }
    url
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// What may stand in an SPDX id.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect()
}

/// A time as SPDX has it: whole seconds.
fn seconds(time: Option<&str>) -> String {
    let time = time.and_then(|time| time.parse::<jiff::Timestamp>().ok()).unwrap_or_default();
    let whole = jiff::Timestamp::from_second(time.as_second()).unwrap_or_default();
    whole.to_string()
}

/// dpkg's database: paragraphs of fields.
fn dpkg(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut fields = BTreeMap::new();
        // Lines that begin with a space go on with the last field: none of those that matter here.
        for line in paragraph.lines().filter(|line| !line.starts_with([' ', '\t'])) {
            if let Some((name, value)) = line.split_once(':') {
                fields.insert(name, value.trim());
            }
        }
        let field = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
        let status = field("Status");
        // Removed ones stay with their configuration; those of distroless images have no status.
        let installed = status.is_empty() || status.ends_with(" installed");
        if field("Package").is_empty() || !installed {
            continue;
        }
        packages.push(Package {
            kind: "deb",
            name: field("Package"),
            version: field("Version"),
            architecture: field("Architecture"),
            maintainer: field("Maintainer"),
            license: String::new(),
            homepage: field("Homepage"),
            source: field("Source"),
        });
    }
    packages
}

/// apk's database: paragraphs of one-letter fields.
fn apk(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let mut package = Package { kind: "apk", ..Package::default() };
        for line in paragraph.lines() {
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.to_owned();
            match name {
                "P" => package.name = value,
                "V" => package.version = value,
                "A" => package.architecture = value,
                "m" => package.maintainer = value,
                "L" => package.license = value,
                "U" => package.homepage = value,
                "o" => package.source = value,
                _ => {}
            }
        }
        if package.source == package.name {
            package.source.clear();
        }
        if !package.name.is_empty() {
            packages.push(package);
        }
    }
    packages
}

fn release(root: &Root) -> Result<Release> {
    let mut release = Release::default();
    for path in ["etc/os-release", "usr/lib/os-release"] {
        let Some(text) = read_if_exists(root, path)? else { continue };
        for line in text.lines() {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            match name {
                "ID" => release.id = value,
                "VERSION_ID" => release.version = value,
                _ => {}
            }
        }
        break;
    }
    Ok(release)
}

/// A regular file's text; an image may have anything else in its place.
fn read_if_exists(root: &Root, path: &str) -> Result<Option<String>> {
    match root.read(path, LARGEST) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if matches!(e.source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(e) => Err(e.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_are_read() {
        let text = "Package: base-files\nStatus: install ok installed\nVersion: 12.4+deb12u1\nArchitecture: amd64\nMaintainer: Santiago <s@debian.org>\nDescription: x\n more: of it\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n\nPackage: tzdata\nVersion: 2024a\n";
        let found = dpkg(text);
        assert_eq!(found.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(), ["base-files", "tzdata"]);
        let release = Release { id: "debian".into(), version: "12".into() };
        assert_eq!(
            purl(&found[0], &release),
            "pkg:deb/debian/base-files@12.4%2Bdeb12u1?arch=amd64&distro=debian-12"
        );
        let text = "C:Q1x\nP:musl-utils\nV:1.2.4-r2\nA:x86_64\nL:MIT AND BSD-2-Clause AND GPL-2.0-or-later\no:musl\nF:sbin\n\nP:musl\nV:1.2.4-r2\nL:MIT & odd\no:musl\n";
        let found = apk(text);
        assert_eq!((found[0].source.as_str(), found[1].source.as_str()), ("musl", ""));
        let told = element(&found[1], &release, "SPDXRef-x");
        assert_eq!(told["licenseDeclared"], "NOASSERTION");
        assert_eq!(told["licenseComments"], "MIT & odd");
        assert_eq!(element(&found[0], &release, "x")["licenseDeclared"], found[0].license.as_str());
    }

    #[test]
    fn a_root_is_a_document() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            sys::file::create_dir_all(path.parent().unwrap(), 0o755).unwrap();
            sys::file::write_atomic(&path, text.as_bytes(), 0o644, sys::file::Durability::Process).unwrap();
        };
        put("usr/lib/os-release", "ID=alpine\nVERSION_ID=3.20\n");
        put("lib/apk/db/installed", "P:busybox\nV:1.36\n");
        put("var/lib/dpkg/status.d/tz", "Package: tz\nVersion: 1\n");
        put("var/lib/rpm/rpmdb.sqlite", "");
        let image = Image { created: Some("2001-02-03T04:05:06.789Z".into()), ..Image::default() };
        let told = statement(&Root::open(dir.path()).unwrap(), &image).unwrap();
        assert_eq!(told.predicate, "https://spdx.dev/Document");
        let names: Vec<_> =
            told.content["packages"].as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
        assert_eq!(names, ["image", "busybox", "tz"]);
        assert_eq!(told.content["creationInfo"]["created"], "2001-02-03T04:05:06Z");
        assert!(told.content["creationInfo"]["comment"].as_str().unwrap().contains("rpm"));
        assert_eq!(told.content["relationships"].as_array().unwrap().len(), 3);
        assert!(read("generator=x").is_err() && read("maybe").is_err() && read("true").unwrap());
    }
}
