//! The linter: BuildKit's rules, under its names.
//!
//! A Dockerfile's `# check=skip=Rule,…;error=true` and the argument BUILDKIT_DOCKERFILE_CHECK say what counts.

use std::collections::BTreeSet;

use spec::api::{BuildAnswer, BuildWarning};

use crate::error::{Error, Result};
use crate::ignore::{Ignore, clean};
use crate::instructions::read::nearest;
use crate::instructions::{Command, Dockerfile, Instruction};
use crate::parse::Node;
use crate::{Request, glob, words};

/// Names, and what each is about.
const RULES: [(&str, &str); 22] = [
    ("StageNameCasing", "Stage names should be lowercase"),
    ("FromAsCasing", "The 'as' keyword should match the case of the 'from' keyword"),
    ("NoEmptyContinuation", "Empty continuation lines will become errors in a future release"),
    (
        "ConsistentInstructionCasing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    ("DuplicateStageName", "Stage names should be unique"),
    ("ReservedStageName", "Reserved words should not be used as stage names"),
    (
        "JSONArgsRecommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    (
        "MaintainerDeprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    ("UndefinedArgInFrom", "FROM command must use declared ARGs"),
    (
        "WorkdirRelativePath",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image changes",
    ),
    ("UndefinedVar", "Variables should be defined before their use"),
    (
        "MultipleInstructionsDisallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    ("LegacyKeyValueFormat", "Legacy key/value format with whitespace separator should not be used"),
    ("InvalidBaseImagePlatform", "Base image platform does not match expected target platform"),
    (
        "RedundantTargetPlatform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    ("SecretsUsedInArgOrEnv", "Sensitive data should not be used in the ARG or ENV commands"),
    (
        "InvalidDefaultArgInFrom",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    ("FromPlatformFlagConstDisallowed", "FROM --platform flag should not use a constant value"),
    ("CopyIgnoredFile", "Attempting to Copy file that is excluded by .dockerignore"),
    (
        DESCRIPTIONS,
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not intended to be a description comment, add an empty line or comment between the instruction and the comment.",
    ),
    ("ExposeProtoCasing", "Protocol in EXPOSE instruction should be lowercase"),
    (
        "ExposeInvalidFormat",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release",
    ),
];

/// The one rule that counts only where somebody asks for it.
const DESCRIPTIONS: &str = "InvalidDefinitionDescription";

/// What a `# check=` line wants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Check {
    skip: Vec<String>,
    /// Rules that do not count by themselves.
    experimental: Vec<String>,
    /// A finding fails the build.
    pub(crate) error: bool,
}

impl Check {
    /// Reads `skip=A,B;error=true`.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let mut check = Self::default();
        let rules = |value: &str| -> Vec<String> {
            value.split(',').map(|rule| rule.trim().to_ascii_lowercase()).collect()
        };
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim() {
                "skip" => check.skip.extend(rules(value)),
                "error" => {
                    check.error = value.trim().parse().map_err(|_| {
                        Error::Request(format!(
                            "failed to parse check option {part:?}: expected true or false"
                        ))
                    })?;
                }
                "experimental" => check.experimental.extend(rules(value)),
                other => {
                    let hint = nearest(other, &["skip", "error", "experimental"]);
                    let hint = hint.map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
                    return Err(Error::Request(format!("invalid check option {other:?}{hint}")));
                }
            }
        }
        Ok(check)
    }

    /// The argument goes before the Dockerfile's own line.
    pub(crate) fn of(file: &Dockerfile, request: &Request) -> Result<Self> {
        match request.args.get("BUILDKIT_DOCKERFILE_CHECK").and_then(Option::as_deref) {
            Some(text) => Self::parse(text),
            None => Self::parse(&file.check),
        }
    }

    /// Whether a rule counts.
    pub(crate) fn wants(&self, rule: &str) -> bool {
        let named = |rules: &[String]| {
            rules.iter().any(|named| named == "all" || *named == rule.to_ascii_lowercase())
        };
        !named(&self.skip) && (rule != DESCRIPTIONS || named(&self.experimental))
    }
}

/// A finding under a rule's name.
pub(crate) fn finding(rule: &str, detail: String, line: u32) -> BuildWarning {
    let (_, description) =
        RULES.iter().find(|(name, _)| *name == rule).expect("the rules are all in the table");
    let mut page = String::new();
    for (at, c) in rule.char_indices() {
        let next_is_lower = rule[at + 1..].starts_with(|c: char| c.is_ascii_lowercase());
        let last_is_lower = rule[..at].ends_with(|c: char| c.is_ascii_lowercase());
        if at > 0 && c.is_ascii_uppercase() && (last_is_lower || next_is_lower) {
            page.push('-');
        }
        page.push(c.to_ascii_lowercase());
    }
    BuildWarning {
        rule_name: rule.to_owned(),
        description: (*description).to_owned(),
        url: format!("https://docs.docker.com/go/dockerfile/rule/{page}/"),
        detail,
        file: String::new(),
        line,
    }
}

/// Looks through a Dockerfile; what needs a stage's state is found when the graph is made.
pub(crate) fn lint(file: &Dockerfile, ignore: &Ignore) -> Vec<BuildWarning> {
    let mut found = Vec::new();
    casing(&file.nodes, &mut found);
    stages(file, &mut found);
    for stage in &file.stages {
        steps(stage, ignore, &mut found);
    }
    for step in &file.globals {
        secrets(step.line, &step.instruction, &mut found);
    }
    found
}

/// Puts findings in the Dockerfile's order and drops what does not count.
pub(crate) fn sort(mut found: Vec<BuildWarning>, check: &Check, name: &str) -> Vec<BuildWarning> {
    found.retain(|finding| check.wants(&finding.rule_name));
    found.sort_by(|a, b| (a.line, &a.rule_name, &a.detail).cmp(&(b.line, &b.rule_name, &b.detail)));
    found.dedup();
    for finding in &mut found {
        name.clone_into(&mut finding.file);
    }
    found
}

/// `--check`'s answer.
pub(crate) fn answer(found: &[BuildWarning], source: &[u8]) -> BuildAnswer {
    let mut text = match found.len() {
        0 => "Check complete, no warnings found.\n".to_owned(),
        1 => "Check complete, 1 warning has been found!\n".to_owned(),
        more => format!("Check complete, {more} warnings have been found!\n"),
    };
    for one in found {
        text.push_str(&format!(
            "\nWARNING: {} - {}\n{}\n{}",
            one.rule_name,
            one.url,
            one.detail,
            excerpt(source, &one.file, one.line, &one.detail)
        ));
    }
    let json = serde_json::json!({ "warnings": found });
    BuildAnswer { text, json, code: u8::from(!found.is_empty()) }
}

/// The lines around one of a Dockerfile, as BuildKit shows them; what the error's text names is underlined.
pub(crate) fn excerpt(source: &[u8], name: &str, line: u32, error: &str) -> String {
    let source = String::from_utf8_lossy(source);
    let lines: Vec<&str> = source.lines().collect();
    let at = usize::try_from(line).unwrap_or(0).max(1);
    let name = if name.is_empty() { "Dockerfile" } else { name };
    let place = lines.get(at - 1).and_then(|line| column(line, error));
    let column = place.map(|(column, _)| format!(":{column}")).unwrap_or_default();
    let mut text = format!("{name}:{line}{column}\n--------------------\n");
    for number in at.saturating_sub(2).max(1)..=(at + 2).min(lines.len()) {
        let mark = if number == at { ">>>" } else { "   " };
        text.push_str(&format!("{number:>4} | {mark} {}\n", lines[number - 1]));
        if let (Some((column, width)), true) = (place, number == at) {
            text.push_str(&format!("     |     {}{}\n", " ".repeat(column - 1), "^".repeat(width)));
        }
    }
    text + "--------------------\n"
}

/// Where in a line the word is that an error speaks of, counted from 1, and how long it is.
fn column(line: &str, error: &str) -> Option<(usize, usize)> {
    const BEFORE: [&str; 6] = [
        "unknown instruction: ",
        "unknown flag: ",
        "duplicate flag specified: ",
        "missing a value on flag: ",
        "invalid containerPort: ",
        "invalid signal: ",
    ];
    let named = BEFORE.iter().filter_map(|before| error.split_once(before)?.1.split_whitespace().next());
    // Every other piece between quotes is quoted.
    let quoted = ['"', '\''].into_iter().flat_map(|quote| error.split(quote).skip(1).step_by(2));
    let lower = line.to_ascii_lowercase();
    named.chain(quoted).filter(|word| !word.is_empty()).find_map(|word| {
        let at = lower.find(&word.to_ascii_lowercase())?;
        Some((line.get(..at)?.chars().count() + 1, word.chars().count()))
    })
}

fn casing(nodes: &[Node], found: &mut Vec<BuildWarning>) {
    let is_lower = |word: &str| word.chars().all(|c| c.is_ascii_lowercase());
    let is_upper = |word: &str| word.chars().all(|c| c.is_ascii_uppercase());
    let lower = nodes.iter().filter(|node| is_lower(&node.word)).count();
    let upper = nodes.iter().filter(|node| is_upper(&node.word)).count();
    let majority_lower = lower > upper;
    for node in nodes {
        let line = node.lines.0;
        let consistent = if majority_lower { is_lower(&node.word) } else { is_upper(&node.word) };
        if !consistent {
            let majority = if majority_lower { "lowercase" } else { "uppercase" };
            let detail =
                format!("Command '{}' should match the case of the command majority ({majority})", node.word);
            found.push(finding("ConsistentInstructionCasing", detail, line));
        }
        if node.empty_continuation {
            found.push(finding("NoEmptyContinuation", "Empty continuation line".into(), node.lines.1));
        }
        if node.name == "FROM"
            && let [_, word, _] = node.rest.split_whitespace().collect::<Vec<_>>()[..]
            && (is_lower(word), is_upper(word)) != (is_lower(&node.word), is_upper(&node.word))
        {
            let detail = format!("'{word}' and '{}' keywords' casing do not match", node.word);
            found.push(finding("FromAsCasing", detail, line));
        }
        descriptions(node, found);
        if node.name == "MAINTAINER" {
            let detail = "Maintainer instruction is deprecated in favor of using label".into();
            found.push(finding("MaintainerDeprecated", detail, line));
        }
        let legacy = matches!(node.name.as_str(), "ENV" | "LABEL")
            && words::split(&node.rest, '\\').first().is_some_and(|word| !word.contains('='));
        if legacy {
            let name = &node.name;
            let detail =
                format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            found.push(finding("LegacyKeyValueFormat", detail, line));
        }
    }
}

/// Comments that look as if they described a stage or an argument.
fn descriptions(node: &Node, found: &mut Vec<BuildWarning>) {
    let words: Vec<&str> = node.rest.split_whitespace().collect();
    let names: Vec<&str> = match (node.name.as_str(), words.as_slice()) {
        ("FROM", [_, _, name]) => vec![name],
        ("ARG", words) => words.iter().map(|word| word.split('=').next().unwrap_or(word)).collect(),
        _ => return,
    };
    let first = node.comment.split(' ').next().unwrap_or_default();
    if first.is_empty() || names.is_empty() || names.contains(&first) {
        return;
    }
    let name = if let [one] = names[..] { one } else { "<arg_key>" };
    let detail = format!("Comment for {} should follow the format: `# {name} <description>`", node.name);
    found.push(finding(DESCRIPTIONS, detail, node.lines.0));
}

fn stages(file: &Dockerfile, found: &mut Vec<BuildWarning>) {
    let froms = file.nodes.iter().filter(|node| node.name == "FROM");
    let mut seen = BTreeSet::new();
    for (stage, node) in file.stages.iter().zip(froms) {
        let line = stage.line;
        let written = node.rest.split_whitespace().nth(2).unwrap_or_default();
        if written.chars().any(|c| c.is_ascii_uppercase()) {
            found.push(finding(
                "StageNameCasing",
                format!("Stage name '{written}' should be lowercase"),
                line,
            ));
        }
        if let Some(name) = &stage.name {
            if matches!(name.as_str(), "scratch" | "context") {
                let detail = format!("Stage name should not use the same name as reserved stage {name:?}");
                found.push(finding("ReservedStageName", detail, line));
            }
            if !seen.insert(name.clone()) {
                let detail = format!("Duplicate stage name {written:?}, stage names should be unique");
                found.push(finding("DuplicateStageName", detail, line));
            }
        }
        let platform = stage.from.platform.as_str();
        if matches!(platform, "$TARGETPLATFORM" | "${TARGETPLATFORM}") {
            let detail = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            found.push(finding("RedundantTargetPlatform", detail, line));
        } else if !platform.is_empty() && !platform.contains('$') {
            // A stage of its own name is for the one platform on purpose.
            let named = stage.name.as_deref().is_some_and(|name| {
                platform.split('/').skip(1).any(|part| !part.is_empty() && name.contains(part))
            });
            if !named {
                let detail = format!("FROM --platform flag should not use constant value {platform:?}");
                found.push(finding("FromPlatformFlagConstDisallowed", detail, line));
            }
        }
        arguments(file, stage, found);
    }
}

/// Global ARGs as FROM uses them.
fn arguments(file: &Dockerfile, stage: &crate::instructions::Stage, found: &mut Vec<BuildWarning>) {
    let mut declared: Vec<(String, Option<String>)> = Vec::new();
    for step in &file.globals {
        if let Instruction::Arg(arguments) = &step.instruction {
            declared.extend(arguments.iter().cloned());
        }
    }
    let platform_names = ["PLATFORM", "OS", "ARCH", "VARIANT"];
    let predefined = |name: &str| {
        let rest = name.strip_prefix("TARGET").or_else(|| name.strip_prefix("BUILD"));
        rest.is_some_and(|rest| platform_names.contains(&rest)) || name == "TARGETSTAGE"
    };
    for text in [&stage.from.image, &stage.from.platform] {
        for name in words::names(text, file.escape) {
            if predefined(&name) || declared.iter().any(|(n, _)| *n == name) {
                continue;
            }
            let known: Vec<&str> = declared.iter().map(|(n, _)| n.as_str()).collect();
            let hint = nearest(&name, &known).map(|n| format!(" (did you mean {n}?)")).unwrap_or_default();
            let detail = format!("FROM argument '{name}' is not declared{hint}");
            found.push(finding("UndefinedArgInFrom", detail, stage.line));
        }
    }
    // Whatever --build-arg gives: somebody else will build without.
    let names = words::names(&stage.from.image, file.escape);
    if names.iter().any(|name| declared.iter().any(|(declared, _)| declared == name)) {
        let default = |name: &str| {
            let value = declared.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone());
            value.or_else(|| predefined(name).then(|| "x".into()))
        };
        let expanded = words::expand(&stage.from.image, file.escape, &default).unwrap_or_default();
        let is_reference = expanded.parse::<spec::Reference>().is_ok();
        if !is_reference {
            let detail = format!(
                "Default value for ARG {} results in empty or invalid base image name",
                stage.from.image
            );
            found.push(finding("InvalidDefaultArgInFrom", detail, stage.line));
        }
    }
}

fn steps(stage: &crate::instructions::Stage, ignore: &Ignore, found: &mut Vec<BuildWarning>) {
    // As in `FROM` of another stage: that one may have set it.
    let mut absolute = stage.from.image == "scratch";
    let has_shell = stage.steps.iter().any(|step| matches!(step.instruction, Instruction::Shell(_)));
    for step in &stage.steps {
        let line = step.line;
        match &step.instruction {
            Instruction::Workdir(path) => {
                if path.starts_with(['/', '$']) {
                    absolute = true;
                } else if !absolute {
                    let detail = format!(
                        "Relative workdir {path:?} can have unexpected results if the base image changes"
                    );
                    found.push(finding("WorkdirRelativePath", detail, line));
                }
            }
            Instruction::Cmd(Command::Shell(_)) if !has_shell => found.push(json_recommended("CMD", line)),
            Instruction::Entrypoint(Command::Shell(_)) if !has_shell => {
                found.push(json_recommended("ENTRYPOINT", line));
            }
            Instruction::Expose(ports) => expose(ports, line, found),
            Instruction::Copy(copy) | Instruction::Add(copy) if copy.from.is_none() => {
                let verb = if matches!(step.instruction, Instruction::Copy(_)) { "Copy" } else { "Add" };
                for source in &copy.sources {
                    let path = clean(source);
                    let plain = !glob::is_pattern(&path) && !path.contains('$') && !source.contains("://");
                    let hidden = !path.is_empty() && ignore.ignores(&path) && !ignore.may_keep_below(&path);
                    if plain && hidden {
                        let detail =
                            format!("Attempting to {verb} file {source:?} that is excluded by .dockerignore");
                        found.push(finding("CopyIgnoredFile", detail, line));
                    }
                }
            }
            _ => {}
        }
        secrets(line, &step.instruction, found);
    }
    for name in ["CMD", "ENTRYPOINT", "HEALTHCHECK"] {
        let of = |step: &&crate::instructions::Step| {
            matches!(
                (&step.instruction, name),
                (Instruction::Cmd(_), "CMD")
                    | (Instruction::Entrypoint(_), "ENTRYPOINT")
                    | (Instruction::Healthcheck(_), "HEALTHCHECK")
            )
        };
        let all: Vec<u32> = stage.steps.iter().filter(of).map(|step| step.line).collect();
        for line in all.iter().rev().skip(1) {
            let detail = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            found.push(finding("MultipleInstructionsDisallowed", detail, *line));
        }
    }
}

fn json_recommended(name: &str, line: u32) -> BuildWarning {
    let detail =
        format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
    finding("JSONArgsRecommended", detail, line)
}

fn expose(ports: &[String], line: u32, found: &mut Vec<BuildWarning>) {
    for port in ports.iter().filter(|port| !port.contains('$')) {
        if let Some((_, protocol)) = port.split_once('/')
            && protocol.chars().any(|c| c.is_ascii_uppercase())
        {
            let detail = format!("Defined protocol '{port}' in EXPOSE instruction should be lowercase");
            found.push(finding("ExposeProtoCasing", detail, line));
        }
        if port.contains(':') {
            let detail = format!(
                "EXPOSE instruction should not define an IP address or host-port mapping, found '{port}'"
            );
            found.push(finding("ExposeInvalidFormat", detail, line));
        }
    }
}

/// ARG and ENV whose names speak of secrets.
fn secrets(line: u32, instruction: &Instruction, found: &mut Vec<BuildWarning>) {
    const TOKENS: [&str; 10] = [
        "apikey",
        "auth",
        "credential",
        "credentials",
        "key",
        "password",
        "pword",
        "passwd",
        "secret",
        "token",
    ];
    const HARMLESS: [&str; 3] = ["public", "file", "version"];
    let (verb, names): (&str, Vec<&String>) = match instruction {
        Instruction::Arg(arguments) => ("ARG", arguments.iter().map(|(name, _)| name).collect()),
        Instruction::Env(pairs) => ("ENV", pairs.iter().map(|(name, _)| name).collect()),
        _ => return,
    };
    for name in names {
        let lower = name.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('_').collect();
        let is = |word: Option<&&str>| word.is_some_and(|word| TOKENS.contains(word));
        if (is(parts.first()) || is(parts.last())) && !parts.iter().any(|part| HARMLESS.contains(part)) {
            let detail = format!("Do not use ARG or ENV instructions for sensitive data ({verb} {name:?})");
            found.push(finding("SecretsUsedInArgOrEnv", detail, line));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<String> {
        let file = Dockerfile::read(text.as_bytes()).unwrap();
        let check = Check::of(&file, &Request::default()).unwrap();
        let ignore = Ignore::parse(b"secret.txt\n").unwrap();
        let found = sort(lint(&file, &ignore), &check, "Dockerfile");
        found.iter().map(|one| format!("{}:{}", one.line, one.rule_name)).collect()
    }

    /// For each rule what breaks it, where, and the nearest thing that does not. The two that need base images
    /// are in `e2e/tests`: UndefinedVar in `builder.rs`, InvalidBaseImagePlatform in `build_run.rs`.
    #[test]
    fn every_rule_finds_its_mistake_and_no_other() {
        let checked = "# check=experimental=InvalidDefinitionDescription\n";
        for (rule, wrong, line, right) in [
            ("StageNameCasing", "FROM a AS Base", 1, "FROM a AS base"),
            ("FromAsCasing", "FROM a as b", 1, "from a as b"),
            ("NoEmptyContinuation", "FROM a\nRUN x \\\n\n  y", 4, "FROM a\nRUN x \\\n# y\n  y\n\nRUN z"),
            ("ConsistentInstructionCasing", "FROM a\nRUN x\nrun y", 3, "from a\nrun x\nrun y"),
            ("ConsistentInstructionCasing", "FROM a\nRun x", 2, "FROM a\nRUN x"),
            ("DuplicateStageName", "FROM a AS b\nFROM c AS b", 2, "FROM a AS b\nFROM c AS d"),
            ("ReservedStageName", "FROM a AS scratch", 1, "FROM a AS scratchy"),
            ("ReservedStageName", "FROM a AS context", 1, "FROM scratch"),
            ("JSONArgsRecommended", "FROM a\nCMD x y", 2, "FROM a\nCMD [\"x\"]"),
            ("JSONArgsRecommended", "FROM a\nENTRYPOINT x", 2, "FROM a\nSHELL [\"s\"]\nENTRYPOINT x"),
            ("MaintainerDeprecated", "FROM a\nMAINTAINER me", 2, "FROM a\nLABEL maintainer=me"),
            ("UndefinedArgInFrom", "ARG TAG=1\nFROM a:$TGA", 2, "ARG TAG=1\nFROM a:$TAG"),
            ("UndefinedArgInFrom", "FROM --platform=$X a", 1, "FROM --platform=$BUILDPLATFORM a"),
            ("WorkdirRelativePath", "FROM a\nWORKDIR x", 2, "FROM a\nWORKDIR /x\nWORKDIR y"),
            (
                "MultipleInstructionsDisallowed",
                "FROM a\nCMD [\"a\"]\nCMD [\"b\"]",
                2,
                "FROM a AS x\nCMD [\"a\"]\nFROM x\nCMD [\"b\"]",
            ),
            (
                "MultipleInstructionsDisallowed",
                "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK NONE",
                2,
                "FROM a\nHEALTHCHECK NONE",
            ),
            ("LegacyKeyValueFormat", "FROM a\nENV a b", 2, "FROM a\nENV a=b c=d"),
            ("LegacyKeyValueFormat", "FROM a\nLABEL a b", 2, "FROM a\nLABEL a=\"b c\""),
            (
                "RedundantTargetPlatform",
                "FROM --platform=$TARGETPLATFORM a",
                1,
                "FROM --platform=$BUILDPLATFORM a",
            ),
            (
                "FromPlatformFlagConstDisallowed",
                "FROM --platform=linux/amd64 a",
                1,
                "FROM --platform=linux/amd64 a AS build-amd64",
            ),
            ("SecretsUsedInArgOrEnv", "FROM a\nARG DB_PASSWORD", 2, "FROM a\nARG PASSWORD_FILE"),
            ("SecretsUsedInArgOrEnv", "ARG token\nFROM a", 1, "ARG tokens\nFROM a"),
            ("SecretsUsedInArgOrEnv", "FROM a\nENV API_KEY=x", 2, "FROM a\nENV PUBLIC_KEY=x"),
            ("InvalidDefaultArgInFrom", "ARG TAG\nFROM a:$TAG", 2, "ARG TAG\nFROM a:${TAG:-latest}"),
            ("InvalidDefaultArgInFrom", "ARG B\nFROM $B", 2, "ARG B\nFROM busybox$B"),
            ("CopyIgnoredFile", "FROM a\nCOPY secret.txt /", 2, "FROM a\nCOPY secret.text /"),
            (
                "CopyIgnoredFile",
                "FROM a\nADD secret.txt /",
                2,
                "FROM a AS b\nFROM b\nCOPY --from=b secret.txt /",
            ),
            ("ExposeProtoCasing", "FROM a\nEXPOSE 80/TCP", 2, "FROM a\nEXPOSE 80/tcp"),
            ("ExposeInvalidFormat", "FROM a\nEXPOSE 127.0.0.1:80:80", 2, "FROM a\nEXPOSE 80-90"),
            ("InvalidDefinitionDescription", "# of it\nFROM a AS b", 2, "# b is it\nFROM a AS b"),
            ("InvalidDefinitionDescription", "FROM a\n# of it\nARG X", 3, "FROM a\n# of it\n\nARG X"),
            ("InvalidDefinitionDescription", "# of it\nARG X\nFROM a", 2, "# of it\n#\nARG X\nFROM a"),
        ] {
            let (before, line) = match rule {
                DESCRIPTIONS => (checked, line + 1),
                _ => ("", line),
            };
            assert_eq!(rules(&format!("{before}{wrong}")), [format!("{line}:{rule}")], "{wrong}");
            assert_eq!(rules(&format!("{before}{right}")), <[String; 0]>::default(), "{right}");
        }
        assert!(rules("# of it\nFROM a AS b").is_empty(), "counts only where it is asked for");
    }

    #[test]
    fn rules_can_be_skipped() {
        assert!(rules("# check=skip=StageNameCasing,FromAsCasing\nFROM a as B").is_empty());
        assert!(rules("# check=skip=all\nFROM a as B\nCMD x").is_empty());
        assert!(Check::parse("error=true").unwrap().error);
        assert!(Check::parse("skp=x").is_err());
        assert!(rules("ARG TAG=1\nFROM a:$TAG AS b\nARG public_key\nCMD [\"x\"]\nEXPOSE $p").is_empty());
    }

    #[test]
    fn a_page_is_named_as_its_rule() {
        let url = |rule: &str| finding(rule, String::new(), 1).url;
        assert_eq!(
            url("JSONArgsRecommended"),
            "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
        );
        assert_eq!(url("FromAsCasing"), "https://docs.docker.com/go/dockerfile/rule/from-as-casing/");
    }

    #[test]
    fn an_excerpt_marks_the_line() {
        let wrong =
            excerpt(b"FROM a\nCOPY --form=b c d\n", "D", 2, "unknown flag: --form (did you mean from?)");
        assert!(wrong.starts_with("D:2:6\n") && wrong.contains("\n     |          ^^^^^^\n"), "{wrong}");
        let text = excerpt(b"FROM a\nRUN b\nRUN c\n", "", 2, "");
        assert_eq!(
            text,
            "Dockerfile:2\n--------------------\n   1 |     FROM a\n   2 | >>> RUN b\n   3 |     RUN c\n--------------------\n"
        );
    }
}
