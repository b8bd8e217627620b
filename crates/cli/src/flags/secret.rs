//! `--secret id=NAME,src=FILE|env=VAR[,target=PATH][,mode=0400][,uid=N][,gid=N]`: a file that only this container
//! sees. Its content is read here and is in no image, layer or configuration. A build's secrets have no place of their
//! own: `--secret id=NAME[,type=file|env][,src=FILE|env=VAR]`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use spec::api::ContainerSecret;

use super::{csv, key_value};
use crate::error::Error;

/// The longest secret, in bytes: they are kept in memory.
const LONGEST: u64 = 500 * 1024;

/// Where a secret's content comes from.
#[derive(Debug, PartialEq)]
enum Origin {
    File(String),
    Variable(String),
}

/// Reads one `--secret`, and its content.
pub(crate) fn read(text: &str) -> Result<ContainerSecret, String> {
    let (mut secret, origin) = parse(text)?;
    secret.data = content(&secret.name, origin)?;
    Ok(secret)
}

/// Reads one `--secret` of a build: its name, and its content in base64.
pub(crate) fn of_build(text: &str) -> Result<(String, String), String> {
    let (name, origin) = parse_of_build(text, &|name| std::env::var_os(name).is_some())?;
    let content = content(&name, origin)?;
    Ok((name, content))
}

/// A secret's content in base64.
fn content(name: &str, origin: Origin) -> Result<String, String> {
    let bytes = match origin {
        Origin::Variable(variable) => std::env::var_os(&variable)
            .map(std::os::unix::ffi::OsStringExt::into_vec)
            .ok_or_else(|| format!("secret {name:?}: {variable} is not set"))?,
        Origin::File(path) => {
            let failed = |verb| {
                let path = path.clone();
                move |source| format!("secret {name:?}: {}", Error::file(verb, path)(source).line())
            };
            let size = std::fs::metadata(&path).map_err(failed("open"))?.len();
            if size > LONGEST {
                return Err(format!("secret {name:?}: {path} is larger than {LONGEST} bytes"));
            }
            std::fs::read(&path).map_err(failed("read"))?
        }
    };
    Ok(STANDARD.encode(bytes))
}

/// Checks one `--secret` without reading its content.
pub(crate) fn check(text: &str) -> Result<String, String> {
    parse(text).map(|_| text.to_owned())
}

fn parse(text: &str) -> Result<(ContainerSecret, Origin), String> {
    let mut secret = ContainerSecret::default();
    let mut origin = None;
    let mut come_from = |from| match origin.replace(from) {
        None => Ok(()),
        Some(_) => Err("a secret has one source: src or env"),
    };
    for field in csv(text)? {
        let (key, value) = key_value(&field)?;
        let number = || value.parse::<u32>().map_err(|_| format!("invalid value for {key}: {value}"));
        match key.as_str() {
            "id" | "name" => secret.name = value.to_owned(),
            "src" | "source" => come_from(Origin::File(value.to_owned()))?,
            "env" => come_from(Origin::Variable(value.to_owned()))?,
            "target" | "dst" | "destination" => secret.target = value.to_owned(),
            "mode" => {
                let mode = u32::from_str_radix(value, 8).ok().filter(|mode| (1..=0o7777).contains(mode));
                secret.mode = mode.ok_or_else(|| format!("invalid value for mode: {value}"))?;
            }
            "uid" => secret.uid = number()?,
            "gid" => secret.gid = number()?,
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if secret.name.is_empty() || secret.name.contains('/') || matches!(secret.name.as_str(), "." | "..") {
        return Err("id is required, and is a file's name".into());
    }
    if !secret.target.is_empty() && !secret.target.starts_with('/') {
        return Err(format!("invalid target {}: it must be an absolute path", secret.target));
    }
    let origin = origin.ok_or("a source is required: src=FILE or env=VARIABLE")?;
    Ok((secret, origin))
}

/// A name alone is that of a variable, if there is one, else of a file: as buildx has it.
fn parse_of_build(text: &str, is_set: &dyn Fn(&str) -> bool) -> Result<(String, Origin), String> {
    let (mut name, mut kind, mut source, mut variable) = (String::new(), String::new(), None, None);
    for field in csv(text)? {
        let (key, value) = key_value(&field)?;
        let value = value.to_owned();
        match key.as_str() {
            "id" => name = value,
            "type" if matches!(value.as_str(), "file" | "env") => kind = value,
            "type" => return Err(format!("unsupported secret type {value:?}: expected file or env")),
            "src" | "source" => source = Some(value),
            "env" => variable = Some(value),
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if name.is_empty() {
        return Err(format!("invalid secret {text:?}: id is required"));
    }
    let origin = match (kind.as_str(), source, variable) {
        (_, Some(_), Some(_)) => return Err("a secret has one source: src or env".into()),
        ("file", None, Some(_)) => return Err("env is for secrets of type=env".into()),
        (_, None, Some(variable)) | ("env", Some(variable), None) => Origin::Variable(variable),
        (_, Some(path), None) => Origin::File(path),
        ("env", None, None) => Origin::Variable(name.clone()),
        ("", None, None) if is_set(&name) => Origin::Variable(name.clone()),
        (_, None, None) => Origin::File(name.clone()),
    };
    Ok((name, origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets() {
        let (secret, origin) = parse("id=key,src=/k,target=/etc/key,mode=0400,uid=5,gid=6").unwrap();
        assert_eq!((secret.name.as_str(), secret.target.as_str(), secret.mode), ("key", "/etc/key", 0o400));
        assert_eq!((secret.uid, secret.gid, origin), (5, 6, Origin::File("/k".into())));
        assert_eq!(parse("id=key,env=HOME").unwrap().1, Origin::Variable("HOME".into()));
        for bad in [
            "",
            "id=key",
            "src=/k",
            "id=a/b,src=/k",
            "id=..,src=/k",
            "id=key,src=/k,env=K",
            "id=key,src=/k,mode=9",
            "id=key,src=/k,mode=0",
            "id=key,src=/k,uid=x",
            "id=key,src=/k,target=rel",
            "id=key,src=/k,foo=1",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_is_read_and_a_missing_one_is_told() {
        assert_eq!(read("id=k,src=/proc/self/comm").unwrap().name, "k");
        let error = read("id=k,src=/no/such/file").unwrap_err();
        assert_eq!(error, "secret \"k\": open /no/such/file: no such file or directory");
        assert!(read("id=k,env=NO_SUCH_VARIABLE").unwrap_err().contains("is not set"));
    }

    #[test]
    fn a_builds_secret_may_be_its_name_alone() {
        let origin = |text| parse_of_build(text, &|name| name == "TOKEN").unwrap().1;
        let (file, variable) =
            (|path: &str| Origin::File(path.into()), |name: &str| Origin::Variable(name.into()));
        assert_eq!(origin("id=TOKEN"), variable("TOKEN"));
        assert_eq!(origin("id=.npmrc"), file(".npmrc"));
        assert_eq!(origin("id=TOKEN,type=file"), file("TOKEN"));
        assert_eq!(origin("type=env,id=x"), variable("x"));
        assert_eq!(origin("id=x,type=env,src=Y"), variable("Y"));
        assert_eq!(origin("id=x,env=Y"), variable("Y"));
        assert_eq!(origin("id=x,src=/f"), file("/f"));
        for bad in
            ["", "src=/k", "id=x,src=a,env=b", "id=x,type=file,env=b", "id=x,type=vault", "id=x,target=/y"]
        {
            assert!(parse_of_build(bad, &|_| true).is_err(), "{bad}");
        }
    }
}
