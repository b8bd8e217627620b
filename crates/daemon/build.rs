//! Makes the image that ships inside Corten: compiles `hello/hello.rs` into a static program and packs it as a
//! docker-archive, which `src/hello.rs` includes. Offline: it needs rustc and the C library's static archive.

#![allow(clippy::disallowed_methods, reason = "a build script runs the compiler and writes to OUT_DIR")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=hello/hello.rs");
    // Whoever links it as it ships places its functions by this list.
    println!("cargo::rerun-if-changed=layout.txt");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let program = compile(Path::new("hello/hello.rs"), &out)?;
    let layer = layer(&std::fs::read(program)?)?;
    let archive = archive(&layer)?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut gzip, &archive)?;
    std::fs::write(out.join("hello.tar.gz"), gzip.finish()?)?;
    Ok(())
}

fn compile(source: &Path, out: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let program = out.join("hello");
    let target = std::env::var("TARGET")?;
    let status = Command::new(std::env::var("RUSTC")?)
        .args(["--edition=2024", "--crate-type=bin", "-Copt-level=z", "-Cpanic=abort", "-Cstrip=symbols"])
        .args(["-Clto=fat", "-Ctarget-feature=+crt-static", "-Crelocation-model=static", "--target", &target])
        .arg(source)
        .arg("-o")
        .arg(&program)
        .status()?;
    if !status.success() {
        return Err(
            "rustc could not build hello/hello.rs: is the C library's static archive (libc.a) installed?"
                .into(),
        );
    }
    Ok(program)
}

/// The one layer: `/hello`, executable, owned by root, without a date.
fn layer(program: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "hello", program, 0o755)?;
    Ok(tar.into_inner()?)
}

fn archive(layer: &[u8]) -> Result<Vec<u8>, Box<dyn Error>> {
    let diff_id: String = Sha256::digest(layer).iter().map(|b| format!("{b:02x}")).collect();
    let architecture = match std::env::var("CARGO_CFG_TARGET_ARCH")?.as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => other.to_owned(),
    };
    let config = format!(
        r#"{{"created":"1970-01-01T00:00:00Z","architecture":"{architecture}","os":"linux","config":{{"Cmd":["/hello"],"Env":["PATH=/"],"WorkingDir":"/"}},"rootfs":{{"type":"layers","diff_ids":["sha256:{diff_id}"]}},"history":[{{"created":"1970-01-01T00:00:00Z","created_by":"the image that ships inside Corten"}}]}}"#
    );
    let manifest = r#"[{"Config":"config.json","RepoTags":["corten/hello:latest"],"Layers":["layer.tar"]}]"#;
    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "manifest.json", manifest.as_bytes(), 0o644)?;
    append(&mut tar, "config.json", config.as_bytes(), 0o644)?;
    append(&mut tar, "layer.tar", layer, 0o644)?;
    Ok(tar.into_inner()?)
}

fn append(
    tar: &mut tar::Builder<Vec<u8>>,
    name: &str,
    bytes: &[u8],
    mode: u32,
) -> Result<(), Box<dyn Error>> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    tar.append_data(&mut header, name, bytes)?;
    Ok(())
}
