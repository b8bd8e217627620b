//! Dockerfile instructions that change a configuration: `import --change`, `commit --change`.

use spec::api::HealthConfig;
use spec::oci::image::ImageConfig;

use crate::Error;

/// Applies the instructions in their order.
pub(crate) fn apply(config: &mut ImageConfig, changes: &[String]) -> Result<(), Error> {
    let mut has_cmd = false;
    for change in changes {
        has_cmd |= one(config, change, has_cmd)?;
    }
    Ok(())
}

/// Applies one instruction. An entrypoint sets aside a command that was not given beside it (`has_cmd`). Returns whether
/// it gave a command.
fn one(config: &mut ImageConfig, change: &str, has_cmd: bool) -> Result<bool, Error> {
    let (word, rest) = change.trim().split_once(char::is_whitespace).unwrap_or((change.trim(), ""));
    let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
    let command = |shell: &[String]| -> Vec<String> {
        // The exec form is JSON; anything else is for a shell.
        serde_json::from_str(rest).unwrap_or_else(|_| {
            let shell =
                if shell.is_empty() { ["/bin/sh".into(), "-c".into()].to_vec() } else { shell.to_vec() };
            shell.into_iter().chain([rest.to_owned()]).collect()
        })
    };
    let list = || -> Vec<String> {
        serde_json::from_str(rest).unwrap_or_else(|_| rest.split_whitespace().map(str::to_owned).collect())
    };
    const WORDS: [&str; 11] = [
        "CMD",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "HEALTHCHECK",
        "LABEL",
        "ONBUILD",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    if !WORDS.contains(&word.as_str()) {
        return Err(Error::Invalid(format!("{word} is not a valid change command")));
    }
    if rest.is_empty() {
        return Err(Error::Invalid(format!("{word} requires at least one argument")));
    }
    match word.as_str() {
        "CMD" => config.cmd = command(&config.shell),
        "ENTRYPOINT" => {
            config.entrypoint = command(&config.shell);
            if !has_cmd {
                config.cmd.clear();
            }
        }
        "ENV" => {
            for (key, value) in pairs(rest)? {
                let variable = format!("{key}={value}");
                match config.env.iter_mut().find(|v| v.split('=').next() == Some(&key)) {
                    Some(there) => *there = variable,
                    None => config.env.push(variable),
                }
            }
        }
        "LABEL" => config.labels.extend(pairs(rest)?),
        "EXPOSE" => {
            for port in list() {
                let port = if port.contains('/') { port } else { format!("{port}/tcp") };
                config.exposed_ports.insert(port, Default::default());
            }
        }
        "HEALTHCHECK" => config.healthcheck = Some(health(rest)?),
        "USER" => rest.clone_into(&mut config.user),
        "VOLUME" => config.volumes.extend(list().into_iter().map(|v| (v, Default::default()))),
        "WORKDIR" => config.working_dir = clean(&config.working_dir, rest),
        "STOPSIGNAL" => rest.clone_into(&mut config.stop_signal),
        _ => config.on_build.push(rest.to_owned()),
    }
    Ok(word == "CMD")
}

/// A working directory: an absolute one, or one below the one before.
fn clean(before: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{before}/{path}") };
    crate::container::clean(&joined)
}

/// `[--flag=value …] CMD …`, or `NONE`.
fn health(text: &str) -> Result<HealthConfig, Error> {
    let invalid = |why: String| Error::Invalid(format!("HEALTHCHECK: {why}"));
    let mut health = HealthConfig::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) =
            flag.split_once('=').ok_or_else(|| invalid(format!("Missing a value on flag: --{flag}")))?;
        if name == "retries" {
            health.retries = value.parse().map_err(|_| invalid(format!("invalid retries {value:?}")))?;
            continue;
        }
        let nanoseconds = spec::duration::parse(value).map_err(|e| invalid(e.to_string()))?;
        match name {
            "interval" => health.interval = nanoseconds,
            "timeout" => health.timeout = nanoseconds,
            "start-period" => health.start_period = nanoseconds,
            "start-interval" => health.start_interval = nanoseconds,
            _ => return Err(invalid(format!("unknown flag: --{name}"))),
        }
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    health.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if command.is_empty() => vec!["NONE".into()],
        "CMD" if !command.is_empty() => match serde_json::from_str::<Vec<String>>(command) {
            Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Err(_) => vec!["CMD-SHELL".into(), command.to_owned()],
        },
        "CMD" => return Err(invalid("Missing command after HEALTHCHECK CMD".into())),
        other => return Err(invalid(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)"))),
    };
    Ok(health)
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

    fn changed(changes: &[&str]) -> Result<ImageConfig, Error> {
        let mut config = ImageConfig::default();
        let changes: Vec<String> = changes.iter().map(|c| (*c).to_owned()).collect();
        apply(&mut config, &changes).map(|()| config)
    }

    #[test]
    fn changes_are_applied() {
        let config = changed(&[
            "CMD [\"sh\", \"-c\", \"x\"]",
            "ENTRYPOINT run me",
            "ENV A=1 B=\"two words\"",
            "ENV C three words",
            "ENV A=2",
            "EXPOSE 80 53/udp",
            "VOLUME [\"/a b\"]",
            "WORKDIR /w",
            "WORKDIR x/..//y",
            "label l=v",
            "HEALTHCHECK --interval=5s --retries=2 CMD wget x",
        ])
        .unwrap();
        assert_eq!(config.cmd, ["sh", "-c", "x"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run me"]);
        assert_eq!(config.env, ["A=2", "B=two words", "C=three words"]);
        assert!(config.exposed_ports.contains_key("80/tcp") && config.exposed_ports.contains_key("53/udp"));
        assert!(config.volumes.contains_key("/a b"));
        assert_eq!((config.working_dir.as_str(), config.labels["l"].as_str()), ("/w/y", "v"));
        let health = config.healthcheck.unwrap();
        assert_eq!((health.interval, health.retries), (5_000_000_000, 2));
        assert_eq!(health.test, ["CMD-SHELL", "wget x"]);
        for bad in ["RUN x", "CMD", "HEALTHCHECK SOMETIMES", "HEALTHCHECK --interval=x CMD y", "ENV a"] {
            assert!(changed(&[bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_entrypoint_sets_aside_a_command_from_before() {
        let mut config = ImageConfig { cmd: vec!["old".into()], ..ImageConfig::default() };
        apply(&mut config, &["ENTRYPOINT [\"x\"]".into()]).unwrap();
        assert!(config.cmd.is_empty());
    }
}
