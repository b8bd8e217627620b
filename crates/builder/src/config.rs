//! The instructions that change only the image's configuration.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::instructions::{Instruction, Step};
use crate::state::State;
use crate::{Request, words};
use spec::api::Empty;
use spec::oci::image::ImageConfig;

/// Where ARGs get their values from.
#[derive(Debug)]
pub(crate) struct Arguments<'a> {
    /// `--build-arg`.
    pub(crate) request: &'a Request,
    /// ARGs before the first FROM, and the platform's.
    pub(crate) globals: &'a [(String, Option<String>)],
    /// The escape character.
    pub(crate) escape: char,
}

impl Arguments<'_> {
    /// The value of an ARG in a stage: `--build-arg`, else its default, else the global one's.
    fn value(&self, name: &str, default: Option<String>) -> Option<String> {
        let given = self.request.args.get(name).cloned().flatten();
        given.or(default).or_else(|| {
            self.globals.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone())
        })
    }
}

/// Applies a step to the state's configuration and returns the history's text. Steps that make a layer change nothing
/// here.
pub(crate) fn apply(state: &mut State, step: &Step, arguments: &Arguments<'_>) -> Result<String> {
    let escape = arguments.escape;
    // All words of one instruction see the values from before it.
    let before = state.clone();
    let expand = |text: &str| before.expand(text, escape, step.line);
    let config = &mut state.image.config;
    let text = match &step.instruction {
        Instruction::Run(_) | Instruction::Copy(_) | Instruction::Add(_) | Instruction::Workdir(_) => {
            step.text.clone()
        }
        Instruction::Arg(declared) => {
            let mut text = String::from("ARG");
            for (name, default) in declared {
                let default = default.as_deref().map(&expand).transpose()?;
                let value = arguments.value(name, default);
                let _ = write!(text, " {name}");
                if let Some(value) = &value {
                    let _ = write!(text, "={value}");
                }
                state.arguments.push((name.clone(), value));
            }
            text
        }
        Instruction::Env(pairs) => {
            let mut text = String::from("ENV");
            for (name, value) in pairs {
                let (name, value) = (expand(name)?, expand(value)?);
                let _ = write!(text, " {name}={value}");
                state.set_env(&name, &value);
            }
            text
        }
        Instruction::Label(pairs) => {
            let mut text = String::from("LABEL");
            for (name, value) in pairs {
                let (name, value) = (expand(name)?, expand(value)?);
                let _ = write!(text, " {name}={value}");
                config.labels.insert(name, value);
            }
            text
        }
        Instruction::Cmd(command) => {
            config.cmd = command.arguments(&config.shell);
            let text = format!("CMD {}", quoted(&config.cmd));
            state.own_cmd = true;
            text
        }
        Instruction::Entrypoint(command) => {
            config.entrypoint = command.arguments(&config.shell);
            if !state.own_cmd {
                config.cmd.clear();
            }
            format!("ENTRYPOINT {}", quoted(&config.entrypoint))
        }
        Instruction::Expose(ports) => {
            let mut exposed = Vec::new();
            for text in ports {
                let lookup = |name: &str| before.variable(name);
                let words =
                    words::expand_split(text, escape, &lookup).map_err(|e| Error::at(step.line, e))?;
                for word in words {
                    let ports = ports_of(&word)
                        .ok_or_else(|| Error::at(step.line, format!("invalid containerPort: {word}")))?;
                    exposed.extend(ports);
                }
            }
            let list: Vec<String> = exposed.iter().map(|p| format!("{p}:{{}}")).collect();
            config.exposed_ports.extend(exposed.into_iter().map(|port| (port, Empty {})));
            format!("EXPOSE map[{}]", list.join(" "))
        }
        Instruction::Healthcheck(health) => {
            config.healthcheck = Some(health.clone());
            format!("HEALTHCHECK {}", quoted(&health.test))
        }
        Instruction::Maintainer(author) => {
            state.image.author.clone_from(author);
            format!("MAINTAINER {author}")
        }
        Instruction::Onbuild(trigger) => {
            config.on_build.push(trigger.clone());
            format!("ONBUILD {trigger}")
        }
        Instruction::Shell(shell) => {
            config.shell.clone_from(shell);
            format!("SHELL [{}]", shell.join(" "))
        }
        Instruction::StopSignal(signal) => {
            let signal = expand(signal)?;
            if spec::signal::parse(&signal).is_none() {
                return Err(Error::at(step.line, format!("invalid signal: {signal}")));
            }
            config.stop_signal.clone_from(&signal);
            format!("STOPSIGNAL {signal}")
        }
        Instruction::Unset(verb, names) => {
            let mut text = (*verb).to_owned();
            for name in names {
                let name = expand(name)?;
                let _ = write!(text, " --unset={name}");
                unset(config, verb, &name).map_err(|detail| Error::at(step.line, detail))?;
            }
            text
        }
        Instruction::User(user) => {
            config.user = expand(user)?;
            format!("USER {}", config.user)
        }
        Instruction::Volume(paths) => {
            let mut expanded = Vec::new();
            for path in paths {
                let path = expand(path)?;
                if path.trim().is_empty() {
                    return Err(Error::at(step.line, "VOLUME specified can not be an empty string"));
                }
                expanded.push(path);
            }
            let text = format!("VOLUME [{}]", expanded.join(" "));
            config.volumes.extend(expanded.into_iter().map(|path| (path, Empty {})));
            text
        }
    };
    Ok(text)
}

/// Drops what was inherited; a name that is not there is a mistake.
fn unset(config: &mut ImageConfig, verb: &str, name: &str) -> std::result::Result<(), String> {
    let all = name == "*";
    let port = if name.contains('/') { name.to_owned() } else { format!("{name}/tcp") };
    let before = config.env.len() + config.labels.len() + config.exposed_ports.len() + config.volumes.len();
    match verb {
        "ENV" => config.env.retain(|e| !all && e.split_once('=').is_none_or(|(n, _)| n != name)),
        "LABEL" => config.labels.retain(|n, _| !all && n != name),
        "EXPOSE" => config.exposed_ports.retain(|n, _| !all && *n != port),
        _ => config.volumes.retain(|n, _| !all && n != name),
    }
    let after = config.env.len() + config.labels.len() + config.exposed_ports.len() + config.volumes.len();
    if all || after < before {
        Ok(())
    } else {
        Err(format!("{verb} --unset={name}: there is no such thing here"))
    }
}

/// `80`, `80/udp`, `7000-7002/tcp` as the configuration's keys. What a mapping (`127.0.0.1:8080:80`) says beside the
/// container's port is dropped, and the linter warns of it.
fn ports_of(text: &str) -> Option<Vec<String>> {
    let text = text.rsplit_once(':').map_or(text, |(_, port)| port);
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return None;
    }
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let (low, high): (u16, u16) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then(|| (low..=high).map(|port| format!("{port}/{protocol}")).collect())
}

/// `["a" "b"]`, as history writes commands.
fn quoted(arguments: &[String]) -> String {
    let quoted: Vec<String> = arguments.iter().map(|a| format!("{a:?}")).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instructions::Dockerfile;
    use spec::api::Platform;

    /// The configuration after a Dockerfile without layers.
    fn run(text: &str, args: &[(&str, &str)]) -> (State, Vec<String>) {
        let file = Dockerfile::read(text.as_bytes()).unwrap();
        let args = args.iter().map(|(k, v)| ((*k).into(), Some((*v).into()))).collect();
        let request = Request { args, ..Request::default() };
        let globals = crate::stages::globals(&file, &request, &Platform::host()).unwrap();
        let arguments = Arguments { request: &request, globals: &globals, escape: file.escape };
        let mut state = State::scratch(&Platform::host());
        let steps = &file.stages[0].steps;
        let history = steps.iter().map(|step| apply(&mut state, step, &arguments).unwrap()).collect();
        (state, history)
    }

    #[test]
    fn args_have_scopes() {
        let text = "ARG G=global\nARG H=${G}2\nFROM scratch\nARG G\nARG D=default\nARG H=mine\nARG N\nARG TARGETOS\nENV r=$G,$D,$H,$N,$TARGETOS,$X";
        let result = |args| run(text, args).0.env("r").unwrap().to_owned();
        assert_eq!(result(&[]), "global,default,mine,,linux,");
        assert_eq!(result(&[("G", "g"), ("D", "d"), ("N", "n"), ("X", "x")]), "g,d,mine,n,linux,");
        let (state, _) = run("FROM scratch\nARG A=arg\nENV A=env\nARG A=again\nENV r=$A", &[("A", "given")]);
        assert_eq!(state.env("r"), Some("env"));
        assert!(state.effective_arguments().is_empty());
    }

    #[test]
    fn one_instruction_sees_the_values_before_it() {
        let (state, history) = run("FROM scratch\nENV a=1\nENV a=2 b=$a\nENV c $a ${b:-x}", &[]);
        assert_eq!((state.env("b"), state.env("c")), (Some("1"), Some("2 1")));
        assert_eq!(history[1], "ENV a=2 b=1");
    }

    #[test]
    fn an_entrypoint_resets_the_cmd_of_others_only() {
        let mut state = run("FROM scratch\nCMD [\"x\"]\nENTRYPOINT [\"e\"]", &[]).0;
        assert_eq!(state.image.config.cmd, ["x"]);
        state.own_cmd = false;
        let file = Dockerfile::read(b"FROM scratch\nENTRYPOINT e").unwrap();
        let request = Request::default();
        let arguments = Arguments { request: &request, globals: &[], escape: '\\' };
        apply(&mut state, &file.stages[0].steps[0], &arguments).unwrap();
        assert!(state.image.config.cmd.is_empty());
        assert_eq!(state.image.config.entrypoint, ["/bin/sh", "-c", "e"]);
    }

    #[test]
    fn the_rest_lands_in_the_configuration() {
        let (state, history) = run(
            "FROM scratch\nENV p=8080\nEXPOSE 127.0.0.1:80:$p 53/udp 1-2\nLABEL a=\"b c\" d=e\nVOLUME [\"/v\"]\nUSER u:g\nSTOPSIGNAL INT\nSHELL [\"/bin/b\", \"-c\"]\nCMD hi\nONBUILD RUN x\nMAINTAINER me <m@e>",
            &[],
        );
        let config = &state.image.config;
        assert_eq!(config.exposed_ports.keys().collect::<Vec<_>>(), ["1/tcp", "2/tcp", "53/udp", "8080/tcp"]);
        assert_eq!((config.labels["a"].as_str(), config.labels["d"].as_str()), ("b c", "e"));
        assert_eq!(config.cmd, ["/bin/b", "-c", "hi"]);
        assert_eq!((config.user.as_str(), config.stop_signal.as_str()), ("u:g", "INT"));
        assert_eq!((config.on_build[0].as_str(), state.image.author.as_str()), ("RUN x", "me <m@e>"));
        assert_eq!(history[7], "CMD [\"/bin/b\" \"-c\" \"hi\"]");
        assert!(config.volumes.contains_key("/v"));
    }
}
