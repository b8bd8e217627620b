//! Secrets of a plain `run`: files in the container's directory, bound into the container and shown nowhere else: not by
//! inspect, not in the environment, not in a commit or an export. They go with the container.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use spec::api::ContainerSecret;
use spec::defaults::oci::bind;
use spec::oci::runtime as oci;
use sys::file::{self, Durability};

use super::mounts;
use crate::Error;

/// How many secrets a container may have.
const MOST: usize = 100;
/// Bytes of one secret, as in Docker's swarm.
const LONGEST: usize = 500 << 10;
/// Where they are unless they say otherwise.
const DIRECTORY: &str = "/run/secrets";

/// A secret, as recorded: all but its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Secret {
    /// In the container.
    pub(crate) target: String,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// Reads the request; the contents beside what is recorded.
pub(crate) fn read(wanted: Vec<ContainerSecret>) -> Result<Vec<(Secret, Vec<u8>)>, Error> {
    if wanted.len() > MOST {
        return Err(Error::Invalid(format!("{} secrets: a container can have {MOST}", wanted.len())));
    }
    let mut read: Vec<(Secret, Vec<u8>)> = Vec::new();
    for secret in wanted {
        let invalid = |why: String| Error::Invalid(format!("invalid secret {:?}: {why}", secret.name));
        let target = match secret.target.as_str() {
            "" if secret.name.is_empty() || secret.name.contains('/') => {
                return Err(invalid("without a target it needs a name that is a file's".into()));
            }
            "" => format!("{DIRECTORY}/{}", secret.name),
            target if target.starts_with('/') => mounts::clean(target),
            target => mounts::clean(&format!("{DIRECTORY}/{target}")),
        };
        if target == "/" || read.iter().any(|(other, _)| other.target == target) {
            return Err(invalid(format!("target {target} is the root or another secret's")));
        }
        if secret.mode & !0o777 != 0 {
            return Err(invalid(format!("mode {:o} has more than permission bits", secret.mode)));
        }
        let content =
            STANDARD.decode(&secret.data).map_err(|e| invalid(format!("its data is not base64: {e}")))?;
        if content.len() > LONGEST {
            return Err(invalid(format!("it is longer than {LONGEST} bytes")));
        }
        let mode = if secret.mode == 0 { 0o444 } else { secret.mode };
        read.push((Secret { target, mode, uid: secret.uid, gid: secret.gid }, content));
    }
    Ok(read)
}

/// Writes the contents, each readable by whom the request says, in a directory that only root can enter.
pub(crate) fn write(dir: &Path, secrets: &[(Secret, Vec<u8>)]) -> Result<(), Error> {
    if secrets.is_empty() {
        return Ok(());
    }
    file::create_dir_all(&dir.join("secrets"), 0o700)?;
    for (number, (secret, content)) in secrets.iter().enumerate() {
        let path = source(dir, number);
        file::write_atomic(&path, content, secret.mode, Durability::Machine)?;
        file::chown(&path, secret.uid, secret.gid)?;
    }
    Ok(())
}

/// The binds that show them in the container.
pub(crate) fn binds(dir: &Path, secrets: &[Secret]) -> Vec<oci::Mount> {
    let bound = |(number, secret): (usize, &Secret)| {
        let options = ["ro", "nosuid", "nodev", "noexec", "rprivate"];
        bind(&source(dir, number).display().to_string(), &secret.target, &options)
    };
    secrets.iter().enumerate().map(bound).collect()
}

fn source(dir: &Path, number: usize) -> PathBuf {
    dir.join("secrets").join(number.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str, target: &str) -> ContainerSecret {
        ContainerSecret {
            name: name.into(),
            data: "c2VjcmV0".into(),
            target: target.into(),
            ..Default::default()
        }
    }

    #[test]
    fn targets_and_modes_have_defaults() {
        let read = read(vec![secret("a", ""), secret("", "/etc/../b"), secret("", "c/d")]).unwrap();
        let targets: Vec<&str> = read.iter().map(|(s, _)| s.target.as_str()).collect();
        assert_eq!(targets, ["/run/secrets/a", "/b", "/run/secrets/c/d"]);
        assert_eq!((read[0].0.mode, read[0].1.as_slice()), (0o444, b"secret".as_slice()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            vec![secret("", "")],
            vec![secret("a/b", "")],
            vec![secret("a", "/")],
            vec![secret("a", ""), secret("a", "")],
            vec![ContainerSecret { mode: 0o4755, ..secret("a", "") }],
            vec![ContainerSecret { data: "?".into(), ..secret("a", "") }],
            vec![secret("a", ""); MOST + 1],
        ] {
            assert!(read(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
