//! `corten update --publish-add …`: what an existing container can change beyond Docker.

use std::path::Path;

use spec::api::{ContainerChanges, EnvChanges, LabelChanges, MountChanges, PublishChanges};

use super::port::Ports;
use super::{checked, map, mount};

/// The changes of `update`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct ChangeFlags {
    /// Publish another port, at once (Corten only)
    #[arg(long)]
    publish_add: Vec<String>,
    /// Publish a port of the container no longer (Corten only)
    #[arg(long)]
    publish_rm: Vec<String>,
    /// Set an environment variable for what is started from now on (Corten only)
    #[arg(long, value_parser = checked::variable)]
    env_add: Vec<String>,
    /// Remove an environment variable (Corten only)
    #[arg(long)]
    env_rm: Vec<String>,
    /// Set a label (Corten only)
    #[arg(long, value_parser = checked::label)]
    label_add: Vec<String>,
    /// Remove a label (Corten only)
    #[arg(long)]
    label_rm: Vec<String>,
    /// Attach a file system mount, at once (Corten only)
    #[arg(long, value_name = "mount", value_parser = checked::mount)]
    mount_add: Vec<String>,
    /// Remove the mount at a path of the container (Corten only)
    #[arg(long)]
    mount_rm: Vec<String>,
}

impl ChangeFlags {
    /// As the request's part; `None` if nothing is to change. Relative sources are taken from `current`.
    pub(crate) fn changes(&self, current: &Path) -> Result<Option<ContainerChanges>, String> {
        let mut ports = Ports::default();
        for text in &self.publish_add {
            ports.publish(text)?;
        }
        let mut removed = Ports::default();
        for text in &self.publish_rm {
            removed.expose(text).map_err(|reason| reason.replace("--expose", "--publish-rm"))?;
        }
        if let Some(name) =
            self.env_rm.iter().chain(&self.label_rm).find(|name| name.is_empty() || name.contains('='))
        {
            return Err(format!("invalid name to remove: {name:?}"));
        }
        if let Some(word) = self.env_add.iter().find(|word| !word.contains('=')) {
            return Err(format!("{word} is not set here: give its value as {word}=VALUE"));
        }
        if let Some(path) = self.mount_rm.iter().find(|path| !path.starts_with('/')) {
            return Err(format!("invalid mount to remove: {path:?}: it must be an absolute path"));
        }
        let mounts =
            self.mount_add.iter().map(|text| mount::parse(text, current)).collect::<Result<_, _>>()?;
        let changes = ContainerChanges {
            publish: PublishChanges { add: ports.bindings, remove: removed.exposed.into_keys().collect() },
            env: EnvChanges { add: self.env_add.clone(), remove: self.env_rm.clone() },
            labels: LabelChanges { add: map(&self.label_add), remove: self.label_rm.clone() },
            mounts: MountChanges { add: mounts, remove: self.mount_rm.clone() },
        };
        Ok(Some(changes).filter(|changes| *changes != ContainerChanges::default()))
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;
    use serde_json::json;

    use super::*;

    fn changes(words: &str) -> Result<Option<ContainerChanges>, String> {
        let command = <ChangeFlags as clap::Args>::augment_args(clap::Command::new("x"));
        let matches = crate::verb::adapt(command, false)
            .try_get_matches_from(format!("x {words}").split_whitespace())
            .map_err(|error| error.to_string())?;
        ChangeFlags::from_arg_matches(&matches).unwrap().changes("/here".as_ref())
    }

    #[test]
    fn flags_become_changes() {
        assert_eq!(changes("").unwrap(), None);
        let all = "--publish-add 8080:80 --publish-add 127.0.0.1:53:53/udp --publish-rm 443 --publish-rm 81-82/udp \
                   --env-add A=1 --env-rm B --label-add l=v --label-add m --label-rm n \
                   --mount-add type=bind,src=./x,dst=/y --mount-rm /z";
        let made = serde_json::to_value(changes(all).unwrap().unwrap()).unwrap();
        assert_eq!(
            made["Publish"],
            json!({
                "Add": {
                    "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
                    "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
                },
                "Remove": ["443/tcp", "81/udp", "82/udp"],
            })
        );
        assert_eq!(made["Env"], json!({"Add": ["A=1"], "Remove": ["B"]}));
        assert_eq!(made["Labels"], json!({"Add": {"l": "v", "m": ""}, "Remove": ["n"]}));
        assert_eq!(made["Mounts"]["Add"][0]["Source"], "/here/x");
        assert_eq!(made["Mounts"]["Remove"], json!(["/z"]));
    }

    #[test]
    fn what_cannot_be_changed_is_refused() {
        for bad in [
            "--publish-add x",
            "--publish-rm 8080:80",
            "--publish-rm x",
            "--env-add =x",
            "--env-add NO_SUCH_VARIABLE",
            "--env-rm A=1",
            "--label-add =x",
            "--label-rm a=b",
            "--mount-add type=bind,src=/x",
            "--mount-rm rel",
        ] {
            assert!(changes(bad).is_err(), "{bad}");
        }
    }
}
