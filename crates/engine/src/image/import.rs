//! Import: a root file system's tar becomes an image of one layer.

use std::fs::File;

use spec::Digest;
use spec::oci::image::{Image, ImageConfig, Platform};

use crate::blocking::{lasting, to_the_end};
use crate::{Engine, Error};

impl Engine {
    /// `tar`: the body as it arrives, in a file of the caller's. `changes` are instructions such as `CMD ["sh"]`.
    pub async fn import(
        &self,
        mut tar: File,
        repo: &str,
        tag: &str,
        changes: &[String],
        message: &str,
    ) -> Result<Digest, Error> {
        let name = if repo.is_empty() { None } else { Some(super::tag::reference(repo, tag)?) };
        let mut config = ImageConfig::default();
        for change in changes {
            apply(&mut config, change)?;
        }
        let host = Platform::host();
        let image = Image {
            architecture: host.architecture,
            os: host.os,
            config,
            comment: message.to_owned(),
            ..Image::default()
        };
        let engine = self.clone();
        to_the_end(async move {
            let (inner, named) = (engine.inner.clone(), name.clone());
            let target = lasting(move || -> Result<_, Error> {
                let _lease = inner.store.lease("import")?;
                let target = inner.store.import(&mut tar, image)?;
                match &named {
                    Some(name) => inner.store.tag(name, &target)?,
                    None => inner.store.keep_dangling(&target)?,
                }
                Ok(target)
            })
            .await?;
            let id = target.digest.to_string();
            engine.image_event("import", &id, &name.map_or_else(|| id.clone(), |n| n.familiar()));
            Ok(target.digest)
        })
        .await
    }
}

/// One of the Dockerfile instructions that change a configuration.
fn apply(config: &mut ImageConfig, change: &str) -> Result<(), Error> {
    let (word, rest) = change.trim().split_once(char::is_whitespace).unwrap_or((change.trim(), ""));
    let rest = rest.trim();
    let missing = || Error::Invalid(format!("{change:?} requires an argument"));
    if rest.is_empty() {
        return Err(missing());
    }
    let command = || -> Vec<String> {
        // The exec form is JSON; anything else is for a shell.
        serde_json::from_str(rest).unwrap_or_else(|_| vec!["/bin/sh".into(), "-c".into(), rest.to_owned()])
    };
    let list = || -> Vec<String> {
        serde_json::from_str(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect())
    };
    match word.to_ascii_uppercase().as_str() {
        "CMD" => config.cmd = command(),
        "ENTRYPOINT" => config.entrypoint = command(),
        "ENV" => config.env.extend(pairs(rest)?.into_iter().map(|(k, v)| format!("{k}={v}"))),
        "LABEL" => config.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in list() {
                let port = if port.contains('/') { port } else { format!("{port}/tcp") };
                config.exposed_ports.insert(port, Default::default());
            }
        }
        "USER" => rest.clone_into(&mut config.user),
        "VOLUME" => config.volumes.extend(list().into_iter().map(|v| (v, Default::default()))),
        "WORKDIR" => rest.clone_into(&mut config.working_dir),
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        "ONBUILD" => config.on_build.push(rest.to_owned()),
        other => return Err(Error::Invalid(format!("{other} is not a valid change command"))),
    }
    Ok(())
}

/// `a=b c="d e"`, or the old `a b c`.
fn pairs(text: &str) -> Result<Vec<(String, String)>, Error> {
    if !text.split_whitespace().next().is_some_and(|word| word.contains('=')) {
        let (key, value) = text
            .split_once(char::is_whitespace)
            .ok_or_else(|| Error::Invalid(format!("{text:?}: expected name=value")))?;
        return Ok(vec![(key.to_owned(), value.trim().to_owned())]);
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let word = words.last_mut().expect("there is always a word being read");
        match (c, quote) {
            ('\\', _) => word.extend(chars.next()),
            (c, Some(q)) if c == q => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => words.push(String::new()),
            (c, None) => word.push(c),
        }
    }
    words
        .iter()
        .filter(|w| !w.is_empty())
        .map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::Invalid(format!("{word:?}: expected name=value"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_applied() {
        let mut config = ImageConfig::default();
        for change in [
            "CMD [\"sh\", \"-c\", \"x\"]",
            "ENTRYPOINT run me",
            "ENV A=1 B=\"two words\"",
            "ENV C three words",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/a b\"]",
            "WORKDIR /w",
            "label l=v",
        ] {
            apply(&mut config, change).unwrap();
        }
        assert_eq!(config.cmd, ["sh", "-c", "x"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.env, ["A=1", "B=two words", "C=three words"]);
        assert!(config.exposed_ports.contains_key("80/tcp") && config.volumes.contains_key("/a b"));
        assert_eq!((config.working_dir.as_str(), config.labels["l"].as_str()), ("/w", "v"));
        assert!(apply(&mut config, "RUN x").is_err() && apply(&mut config, "CMD").is_err());
    }
}
