//! The image's configuration under the user's: the image fills in what the user left open.

use spec::api::ContainerConfig;
use spec::oci::image::ImageConfig;

use crate::Error;

/// Merges the image's configuration into `config`.
///
/// Entrypoint and Cmd go together: a user's entrypoint also sets the image's Cmd aside, and an entrypoint of one
/// empty word removes the image's.
pub(crate) fn merge(config: &mut ContainerConfig, image: &ImageConfig) -> Result<(), Error> {
    if config.user.is_empty() {
        config.user.clone_from(&image.user);
    }
    for port in image.exposed_ports.keys() {
        config.exposed_ports.entry(port.clone()).or_default();
    }
    for variable in &image.env {
        let key = name_of(variable);
        if !config.env.iter().any(|v| name_of(v) == key) {
            config.env.push(variable.clone());
        }
    }
    for (key, value) in &image.labels {
        config.labels.entry(key.clone()).or_insert_with(|| value.clone());
    }
    for volume in image.volumes.keys() {
        config.volumes.entry(volume.clone()).or_default();
    }
    if config.entrypoint.is_empty() {
        if config.cmd.is_empty() {
            config.cmd.clone_from(&image.cmd);
        }
        config.entrypoint.clone_from(&image.entrypoint);
    } else if config.entrypoint == [""] {
        config.entrypoint.clear();
    }
    if config.working_dir.is_empty() {
        config.working_dir.clone_from(&image.working_dir);
    }
    if config.stop_signal.as_deref().is_none_or(str::is_empty) && !image.stop_signal.is_empty() {
        config.stop_signal = Some(image.stop_signal.clone());
    }
    if config.shell.is_empty() {
        config.shell.clone_from(&image.shell);
    }
    match (&mut config.healthcheck, &image.healthcheck) {
        (None, Some(theirs)) => config.healthcheck = Some(theirs.clone()),
        (Some(ours), Some(theirs)) => {
            if ours.test.is_empty() {
                ours.test.clone_from(&theirs.test);
            }
            for (value, default) in [
                (&mut ours.interval, theirs.interval),
                (&mut ours.timeout, theirs.timeout),
                (&mut ours.start_period, theirs.start_period),
                (&mut ours.start_interval, theirs.start_interval),
                (&mut ours.retries, theirs.retries),
            ] {
                if *value == 0 {
                    *value = default;
                }
            }
        }
        (_, None) => {}
    }
    if config.entrypoint.is_empty() && config.cmd.is_empty() {
        return Err(Error::Invalid("no command specified".into()));
    }
    Ok(())
}

fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// The environment of the container's processes: Docker's own variables, then the user's and image's. A variable
/// without `=` removes the one before it.
pub(crate) fn environment(config: &ContainerConfig, hostname: &str) -> Vec<String> {
    let mut env = vec![format!("PATH={}", spec::defaults::PATH), format!("HOSTNAME={hostname}")];
    if config.tty {
        env.push("TERM=xterm".into());
    }
    overlay(&mut env, &config.env);
    env
}

/// Puts `more` over `env`, in place where the name is there already.
pub(crate) fn overlay(env: &mut Vec<String>, more: &[String]) {
    for variable in more {
        let name = name_of(variable).to_owned();
        let place = env.iter().position(|v| name_of(v) == name);
        match (place, variable.contains('=')) {
            (Some(at), true) => env[at].clone_from(variable),
            (Some(at), false) => {
                env.remove(at);
            }
            (None, true) => env.push(variable.clone()),
            (None, false) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn entrypoint_and_cmd_go_together() {
        let image = ImageConfig { entrypoint: words("/ep"), cmd: words("a b"), ..ImageConfig::default() };
        for (entrypoint, cmd, merged) in [
            (words(""), words(""), "/ep a b"),
            (words(""), words("c"), "/ep c"),
            (words("/mine"), words(""), "/mine"),
            (words("/mine"), words("c"), "/mine c"),
            (vec![String::new()], words("c"), "c"),
        ] {
            let mut config = ContainerConfig { entrypoint, cmd, ..ContainerConfig::default() };
            merge(&mut config, &image).unwrap();
            let command: Vec<String> = config.entrypoint.into_iter().chain(config.cmd).collect();
            assert_eq!(command, words(merged));
        }
        let nothing = merge(&mut ContainerConfig::default(), &ImageConfig::default());
        assert_eq!(nothing.unwrap_err().to_string(), "no command specified");
    }

    #[test]
    fn the_user_wins_and_the_image_fills_in() {
        let image = ImageConfig {
            env: words("A=1 B=2"),
            user: "app".into(),
            working_dir: "/srv".into(),
            stop_signal: "SIGINT".into(),
            labels: [("l".to_owned(), "image".to_owned()), ("m".to_owned(), "image".to_owned())].into(),
            ..ImageConfig::default()
        };
        let mut config = ContainerConfig {
            env: words("B=3 C=4"),
            cmd: words("x"),
            labels: [("l".to_owned(), "mine".to_owned())].into(),
            ..ContainerConfig::default()
        };
        merge(&mut config, &image).unwrap();
        assert_eq!(config.env, words("B=3 C=4 A=1"));
        assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("app", "/srv"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGINT"));
        assert_eq!((config.labels["l"].as_str(), config.labels["m"].as_str()), ("mine", "image"));
    }

    #[test]
    fn the_environment_begins_with_dockers_own() {
        let config = ContainerConfig { env: words("PATH=/x A=1"), tty: true, ..ContainerConfig::default() };
        assert_eq!(environment(&config, "h"), words("PATH=/x HOSTNAME=h TERM=xterm A=1"));
        let mut env = words("A=1 B=2");
        overlay(&mut env, &words("A C B=3"));
        assert_eq!(env, words("B=3"));
    }
}
