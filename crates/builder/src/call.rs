//! `--call=outline` and `--call=targets`: what is in a Dockerfile, without building it.

use serde_json::json;
use spec::api::BuildAnswer;

use crate::Request;
use crate::error::{Error, Result};
use crate::instructions::{Dockerfile, Instruction};
use crate::stages;

/// The stages that can be built.
pub(crate) fn targets(file: &Dockerfile) -> BuildAnswer {
    let last = file.stages.len() - 1;
    let mut text = format!("{:<30} {}\n", "TARGET", "BASE");
    let mut all = Vec::new();
    for (index, stage) in file.stages.iter().enumerate() {
        let name = stage.name.clone().unwrap_or_else(|| format!("({index})"));
        let label = if index == last { format!("{name} (default)") } else { name };
        text.push_str(&format!("{label:<30} {}\n", stage.from.image));
        all.push(json!({
            "name": stage.name.clone().unwrap_or_default(),
            "default": index == last,
            "base": stage.from.image,
            "location": { "line": stage.line },
        }));
    }
    BuildAnswer { text, json: json!({ "targets": all }), code: 0 }
}

/// The arguments and secrets that a target takes.
pub(crate) fn outline(file: &Dockerfile, request: &Request) -> Result<BuildAnswer> {
    let target = stages::target(file, &request.target)?;
    let globals = stages::globals(file, request, &spec::api::Platform::host())?;
    let needed = stages::needed(file, &globals, target)?;
    let mut arguments: Vec<(String, Option<String>)> = Vec::new();
    let mut secrets: Vec<(String, bool)> = Vec::new();
    let steps = needed.iter().flat_map(|index| &file.stages[*index].steps);
    for step in file.globals.iter().chain(steps) {
        match &step.instruction {
            Instruction::Arg(declared) => {
                for (name, default) in declared {
                    let given = request.args.get(name).cloned().flatten();
                    let value = given.or_else(|| default.clone());
                    match arguments.iter_mut().find(|(known, _)| known == name) {
                        Some((_, known)) => *known = known.take().or(value),
                        None => arguments.push((name.clone(), value)),
                    }
                }
            }
            Instruction::Run(run) => {
                let is_secret = |m: &&crate::instructions::run::Mount| {
                    m.kind == crate::instructions::run::MountKind::Secret
                };
                for mount in run.mounts.iter().filter(is_secret) {
                    if !secrets.iter().any(|(id, _)| *id == mount.id) {
                        secrets.push((mount.id.clone(), mount.required));
                    }
                }
            }
            _ => {}
        }
    }
    let name = file.stages[target].name.clone().unwrap_or_default();
    let mut text = format!("{:<20} {}\n", "TARGET:", if name.is_empty() { "(default)" } else { &name });
    if !arguments.is_empty() {
        text.push_str(&format!("\n{:<20} {}\n", "BUILD ARG", "VALUE"));
        for (name, value) in &arguments {
            text.push_str(format!("{name:<20} {}", value.as_deref().unwrap_or_default()).trim_end());
            text.push('\n');
        }
    }
    if !secrets.is_empty() {
        text.push_str(&format!("\n{:<20} {}\n", "SECRET", "REQUIRED"));
        for (id, required) in &secrets {
            text.push_str(format!("{id:<20} {}", if *required { "true" } else { "" }).trim_end());
            text.push('\n');
        }
    }
    let json = json!({
        "name": name,
        "args": arguments.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
        "secrets": secrets.iter().map(|(id, required)| json!({ "name": id, "required": required })).collect::<Vec<_>>(),
    });
    Ok(BuildAnswer { text, json, code: 0 })
}

/// Refuses a word that is no call.
pub(crate) fn unknown(call: &str) -> Error {
    let known = ["build", "check", "outline", "targets"];
    let hint = crate::instructions::read::nearest(call, &known)
        .map(|near| format!(" (did you mean {near}?)"))
        .unwrap_or_default();
    Error::Request(format!("invalid call {call:?}{hint}: expected build, check, outline or targets"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"ARG V=1\nFROM a:$V AS base\nARG X\nRUN --mount=type=secret,id=s,required x\nFROM c AS other\nARG Y\nFROM base";

    #[test]
    fn a_dockerfile_is_told_without_being_built() {
        let file = Dockerfile::read(TEXT).unwrap();
        let targets = targets(&file);
        assert!(targets.text.contains("(2) (default)") && targets.text.contains("other"), "{}", targets.text);
        let outline = outline(&file, &Request::default()).unwrap();
        let names: Vec<&str> =
            outline.json["args"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["V", "X"]);
        assert_eq!(outline.json["secrets"][0]["name"], "s");
    }
}
