//! Help texts, laid out as Docker lays them out.

use clap::ArgAction;

use crate::app::{self, App};
use crate::config::Config;
use crate::verb::Command;
use crate::{commands, plugin};

/// The width of Docker's help, whatever the terminal's.
const WIDTH: usize = 80;
/// The version of Docker whose commands and flags these are.
const DOCKER_VERSION: &str = "29.7.2";

/// The help of one command.
pub(crate) fn command(command: &Command, called: &str, flags: &clap::Command) -> String {
    let usage = format!("Usage:  {called} {}", command.usage);
    let mut out = format!("{}\n\n{}\n", usage.trim_end(), command.about);
    if !command.aliases.is_empty() {
        let program = app::program();
        let names = std::iter::once(&command.path).chain(command.aliases);
        let names: Vec<_> = names.map(|name| format!("{program} {name}")).collect();
        out.push_str(&format!("\nAliases:\n  {}\n", names.join(", ")));
    }
    let options = options(flags);
    if !options.is_empty() {
        out.push_str(&format!("\nOptions:\n{options}"));
    }
    out
}

fn options(flags: &clap::Command) -> String {
    let mut rows = Vec::new();
    for arg in flags.get_opts().filter(|arg| !arg.is_hide_set()) {
        let Some(long) = arg.get_long() else { continue };
        let short = arg.get_short().map_or_else(|| "    ".into(), |c| format!("-{c}, "));
        // Only the adapted form of a boolean wants its value behind `=`.
        let kind = match arg.is_require_equals_set() {
            true => String::new(),
            false => {
                let many = matches!(arg.get_action(), ArgAction::Append);
                let name = arg.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
                // clap makes up a name of the flag's own in capitals; those have no type worth naming.
                let named = name.filter(|name| !name.contains(|c: char| c.is_ascii_uppercase()));
                format!(" {}", named.unwrap_or_else(|| if many { "list" } else { "string" }.into()))
            }
        };
        let default = match arg.get_default_values().first().and_then(|v| v.to_str()) {
            None | Some("" | "false" | "0") => String::new(),
            Some(text) if text.chars().all(|c| c.is_ascii_digit() || c == '-') => {
                format!(" (default {text})")
            }
            Some("true") => " (default true)".into(),
            Some(text) => format!(" (default {text:?})"),
        };
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        rows.push((long.to_owned(), format!("  {short}--{long}{kind}"), format!("{help}{default}")));
    }
    rows.sort();
    columns(rows.into_iter().map(|(_, flag, help)| (flag, help)))
}

/// Flags on the left; on the right their help, wrapped.
fn columns(rows: impl Iterator<Item = (String, String)>) -> String {
    let rows: Vec<_> = rows.collect();
    let left = rows.iter().map(|(flag, _)| flag.chars().count()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (flag, help) in rows {
        out.push_str(&format!("{flag:left$}"));
        for (i, line) in wrap(&help, WIDTH.saturating_sub(left).max(24)).iter().enumerate() {
            if i > 0 {
                out.push_str(&" ".repeat(left));
            }
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `corten --version`.
pub(crate) fn version() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match app::program() {
        // Programs look for this form.
        "docker" => format!("Docker version {}, build corten-{version}", DOCKER_VERSION),
        _ => format!("Corten version {version}"),
    }
}

/// The verbs of a group: `ls`, `rm` …
pub(crate) fn verbs(group: &str) -> Vec<(&'static str, &'static str)> {
    let mut rows: Vec<_> = commands::ALL
        .iter()
        .filter(|command| !command.hidden)
        .filter_map(|command| {
            let (of, verb) = command.path.rsplit_once(' ')?;
            (of == group).then_some((verb, command.about))
        })
        .collect();
    rows.sort_unstable();
    rows
}

/// The commands of one word, and the groups: `ps`, `container` …
pub(crate) fn top_level() -> Vec<(&'static str, &'static str)> {
    let names = |command: &'static Command| {
        let names = std::iter::once(command.path).chain(command.aliases.iter().copied());
        names.filter(|name| !name.contains(' ')).map(|name| (name, command.about))
    };
    commands::ALL.iter().filter(|command| !command.hidden).flat_map(names).collect()
}

/// The help of a group of commands: `corten container`.
pub(crate) fn group(name: &str, about: &str) -> String {
    let program = app::program();
    format!(
        "Usage:  {program} {name} COMMAND\n\n{about}\n\nCommands:\n{}\nRun '{program} {name} COMMAND --help' for \
         more information on a command.\n",
        list(&verbs(name))
    )
}

/// The help of the whole program, plugins' commands included.
pub(crate) fn program(app: &App) -> String {
    let program = app::program();
    let top = top_level();
    let common: Vec<_> =
        commands::COMMON.iter().filter_map(|name| top.iter().find(|(n, _)| n == name).copied()).collect();
    let mut rest: Vec<_> = top.into_iter().filter(|(name, _)| !commands::COMMON.contains(name)).collect();
    rest.sort_unstable();
    let config = app.config().ok();
    let plugins = config.map(plugin::list).unwrap_or_default();
    let described: Vec<_> = plugins
        .iter()
        .filter_map(|plugin| {
            let metadata = plugin.metadata.as_ref().ok().filter(|metadata| !metadata.hidden)?;
            Some((format!("{}*", plugin.name), metadata.short_description.as_str()))
        })
        .collect();
    let mut groups: Vec<(&str, &str)> = commands::GROUPS.to_vec();
    groups.extend(described.iter().map(|(name, about)| (name.as_str(), *about)));
    groups.sort_unstable();
    let broken: String = plugins
        .iter()
        .filter_map(|plugin| {
            Some(format!("  {} {}\n", plugin.path.display(), plugin.metadata.as_ref().err()?))
        })
        .collect();
    let broken = if broken.is_empty() { broken } else { format!("Invalid Plugins:\n{broken}\n") };
    format!(
        "Usage:  {program} [OPTIONS] COMMAND\n\nBuild, ship and run containers\n\nCommon Commands:\n{}\nManagement \
         Commands:\n{}\nCommands:\n{}\n{broken}Global Options:\n{}\nRun '{program} COMMAND --help' for more \
         information on a command.\n",
        list(&common),
        list(&groups),
        list(&rest),
        global_options(config)
    )
}

fn global_options(config: Option<&Config>) -> String {
    let directory = config.map(|config| config.directory().display().to_string()).unwrap_or_default();
    let certificate = |name: &str| format!(" (default \"{directory}/{name}\")");
    let program = app::program();
    let options = [
        ("      --config string", format!("Location of client config files (default {directory:?})")),
        (
            "  -c, --context string",
            format!(
                "Name of the context to use to connect to the daemon (overrides DOCKER_HOST env var and default \
                 context set with \"{program} context use\")"
            ),
        ),
        ("  -D, --debug", "Enable debug mode".into()),
        ("  -H, --host string", "Daemon socket to connect to".into()),
        (
            "  -l, --log-level string",
            "Set the logging level (\"debug\", \"info\", \"warn\", \"error\", \"fatal\") (default \"info\")"
                .into(),
        ),
        ("      --tls", "Use TLS; implied by --tlsverify".into()),
        ("      --tlscacert string", format!("Trust certs signed only by this CA{}", certificate("ca.pem"))),
        ("      --tlscert string", format!("Path to TLS certificate file{}", certificate("cert.pem"))),
        ("      --tlskey string", format!("Path to TLS key file{}", certificate("key.pem"))),
        ("      --tlsverify", "Use TLS and verify the remote".into()),
        ("  -v, --version", "Print version information and quit".into()),
    ];
    columns(options.into_iter().map(|(left, right)| (left.to_owned(), right)))
}

fn list(rows: &[(&str, &str)]) -> String {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default().max(11);
    rows.iter().map(|(name, about)| format!("  {name:<width$} {about}\n")).collect()
}

/// A question for one who mistyped a name; empty if nothing is near.
pub(crate) fn did_you_mean(word: &str, names: &[(&str, &str)]) -> String {
    let near = names
        .iter()
        .map(|(name, _)| (distance(word, name), *name))
        .filter(|(distance, _)| *distance <= 2 && 2 * distance < word.chars().count())
        .min();
    near.map_or_else(String::new, |(_, name)| format!("\n\nDid you mean '{name}'?"))
}

/// How many letters have to be put in, taken away, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                rows[i][j] = i + j;
                continue;
            }
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mistyped_names_are_near() {
        for (a, b, expected) in
            [("sytem", "system", 1), ("imgaes", "images", 1), ("ps", "ps", 0), ("", "ab", 2)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
        assert_eq!(did_you_mean("sytem", commands::GROUPS), "\n\nDid you mean 'system'?");
        assert_eq!(did_you_mean("kubernetes", &top_level()), "");
    }
}
