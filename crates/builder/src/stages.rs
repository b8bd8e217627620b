//! Which stages are built, in what order, and the variables of FROM lines.

use std::collections::BTreeSet;

use spec::api::Platform;

use crate::Request;
use crate::error::{Error, Result};
use crate::instructions::{Dockerfile, Instruction, Step};
use crate::words;

/// Variables with the platform's names, which FROM lines see and stages can declare.
fn platform_arguments(target: &Platform) -> Vec<(String, Option<String>)> {
    let mut arguments = Vec::new();
    for (prefix, platform) in [("TARGET", target), ("BUILD", &Platform::host())] {
        for (name, value) in [
            ("PLATFORM", platform.to_string()),
            ("OS", platform.os.clone()),
            ("ARCH", platform.architecture.clone()),
            ("VARIANT", platform.variant.clone()),
        ] {
            arguments.push((format!("{prefix}{name}"), Some(value)));
        }
    }
    arguments
}

/// The ARGs before the first FROM, with their values.
pub(crate) fn globals(
    file: &Dockerfile,
    request: &Request,
    target: &Platform,
) -> Result<Vec<(String, Option<String>)>> {
    let mut globals = platform_arguments(target);
    let stage = if request.target.is_empty() { "default" } else { &request.target };
    globals.push(("TARGETSTAGE".into(), Some(stage.into())));
    for step in &file.globals {
        let Instruction::Arg(declared) = &step.instruction else { continue };
        for (name, default) in declared {
            let given = request.args.get(name).cloned().flatten();
            let value = match (given, default) {
                (Some(given), _) => Some(given),
                (None, Some(default)) => Some(expand(default, file.escape, &globals, step.line)?),
                (None, None) => find(&globals, name),
            };
            globals.push((name.clone(), value));
        }
    }
    Ok(globals)
}

fn find(globals: &[(String, Option<String>)], name: &str) -> Option<String> {
    globals.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone())
}

/// Replaces variables by global ARGs.
pub(crate) fn expand(
    text: &str,
    escape: char,
    globals: &[(String, Option<String>)],
    line: u32,
) -> Result<String> {
    words::expand(text, escape, &|name: &str| find(globals, name))
        .map_err(|e| Error::at(line, format!("failed to process {text:?}: {e}")))
}

/// The stage to build: `--target` by name or index, or the last.
pub(crate) fn target(file: &Dockerfile, name: &str) -> Result<usize> {
    match name {
        "" => Ok(file.stages.len() - 1),
        name => file.stage_before(file.stages.len(), name).ok_or_else(|| Error::NoTarget(name.to_owned())),
    }
}

/// What a step takes files from: stages or images.
pub(crate) fn sources(step: &Step) -> Vec<String> {
    match &step.instruction {
        Instruction::Copy(copy) => copy.from.iter().cloned().collect(),
        Instruction::Run(run) => run.mounts.iter().map(|mount| mount.from.clone()).collect(),
        _ => Vec::new(),
    }
}

/// The stages that the target needs, itself included, in an order in which each comes after what it needs (the
/// Dockerfile's: a stage can only name earlier ones).
pub(crate) fn needed(
    file: &Dockerfile,
    globals: &[(String, Option<String>)],
    target: usize,
) -> Result<Vec<usize>> {
    let mut needed = BTreeSet::from([target]);
    let mut pending = vec![target];
    while let Some(index) = pending.pop() {
        let stage = &file.stages[index];
        let mut names = vec![expand(&stage.from.image, file.escape, globals, stage.line)?];
        names.extend(stage.steps.iter().flat_map(sources));
        // FROM takes names only; a number is an image there, but no image has such a name.
        for name in names {
            if let Some(other) = file.stage_before(index, &name)
                && needed.insert(other)
            {
                pending.push(other);
            }
        }
    }
    Ok(needed.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_target_needs() {
        let text = b"ARG base=one\nFROM x AS one\nFROM $base AS two\nFROM y AS three\nCOPY --from=0 a b\nFROM z AS four\nRUN --mount=from=two,target=/m true\nFROM three";
        let file = Dockerfile::read(text).unwrap();
        let plan = |name: &str| {
            let globals = globals(&file, &Request::default(), &Platform::host()).unwrap();
            needed(&file, &globals, target(&file, name).unwrap()).unwrap()
        };
        assert_eq!(plan(""), [0, 2, 4]);
        assert_eq!(plan("four"), [0, 1, 3]);
        assert_eq!(plan("1"), [0, 1]);
        let error = target(&file, "five").unwrap_err().to_string();
        assert_eq!(error, "target stage \"five\" could not be found");
    }
}
