//! Help texts, laid out as Docker lays them out.

use clap::ArgAction;

use crate::commands;
use crate::verb::Command;

/// The width of Docker's help, whatever the terminal's.
const WIDTH: usize = 80;

/// The help of one command.
pub(crate) fn command(command: &Command, called: &str, flags: &clap::Command) -> String {
    let mut out = format!("Usage:  {called} {}\n\n{}\n", command.usage, command.about);
    if !command.aliases.is_empty() {
        let names = std::iter::once(&command.path).chain(command.aliases);
        let names: Vec<_> = names.map(|name| format!("corten {name}")).collect();
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
    let left = rows.iter().map(|(_, flag, _)| flag.chars().count()).max().unwrap_or(0) + 3;
    let mut out = String::new();
    for (_, flag, help) in rows {
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

/// The help of a group of commands: `corten container`.
pub(crate) fn group(name: &str, about: &str) -> String {
    let mut rows: Vec<_> = commands::ALL
        .iter()
        .filter_map(|command| {
            let (group, verb) = command.path.rsplit_once(' ')?;
            (group == name).then_some((verb, command.about))
        })
        .collect();
    rows.sort_unstable();
    format!(
        "Usage:  corten {name} COMMAND\n\n{about}\n\nCommands:\n{}\nRun 'corten {name} COMMAND --help' for more \
         information on a command.\n",
        list(&rows)
    )
}

/// The help of the whole program.
pub(crate) fn program() -> String {
    let top: Vec<(&str, &str)> = commands::ALL
        .iter()
        .flat_map(|command| {
            std::iter::once(command.path)
                .chain(command.aliases.iter().copied())
                .filter(|name| !name.contains(' '))
                .map(|name| (name, command.about))
        })
        .collect();
    let common: Vec<_> =
        commands::COMMON.iter().filter_map(|name| top.iter().find(|(n, _)| n == name).copied()).collect();
    let mut rest: Vec<_> = top.into_iter().filter(|(name, _)| !commands::COMMON.contains(name)).collect();
    rest.sort_unstable();
    format!(
        "Usage:  corten [OPTIONS] COMMAND\n\nBuild, ship and run containers\n\nCommon Commands:\n{}\nManagement \
         Commands:\n{}\nCommands:\n{}\nGlobal Options:\n{}\nRun 'corten COMMAND --help' for more information on a \
         command.\n",
        list(&common),
        list(commands::GROUPS),
        list(&rest),
        GLOBAL_OPTIONS
    )
}

const GLOBAL_OPTIONS: &str = "      --config string      Location of client config files
  -c, --context string     Name of the context to use to connect to the daemon
  -D, --debug              Enable debug mode
  -H, --host string        Daemon socket to connect to
  -l, --log-level string   Set the logging level (default \"info\")
  -v, --version            Print version information and quit
";

fn list(rows: &[(&str, &str)]) -> String {
    rows.iter().map(|(name, about)| format!("  {name:<11} {about}\n")).collect()
}
