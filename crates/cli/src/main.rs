//! corten: the command line.
//!
//! | room | what is in it |
//! |---|---|
//! | [`commands`] | one file per command, and the table that names them |
//! | [`verb`], [`help`] | what a command is, how its flags are read, its help |
//! | [`flags`] | the grammars of flags: ports, mounts, networks, sizes … |
//! | [`app`], [`globals`], [`error`], [`print`] | what all commands share |
//! | [`endpoint`], [`context`], [`autostart`] | which engine is meant, and that it runs |
//! | [`config`], [`credentials`], [`file`] | the user's configuration and secrets |
//! | [`plugin`] | commands that other programs bring |
//! | [`complete`] | what the shells' completion asks |
//! | [`attach`], [`terminal`], [`signals`] | being the terminal of a container |
//! | [`template`], [`json`], [`table`], [`list`], [`units`] | `--format`, and what is shown without it |
//! | [`copy`], [`path`] | `cp`: what goes where, tar in and out |
//! | [`registry`] | registries, without an engine |
//! | [`together`] | several requests at once |
//! | [`progress`] | pulls, pushes, loads and builds while they happen |
//!
//! A command is found in a static table and only its own flags are built: that, and a runtime of one thread, is
//! why the program starts in about a millisecond.

mod app;
mod attach;
mod autostart;
mod commands;
mod complete;
mod config;
mod context;
mod copy;
mod credentials;
mod endpoint;
mod error;
mod file;
mod flags;
mod globals;
mod help;
mod json;
mod list;
mod path;
mod plugin;
mod print;
mod progress;
mod registry;
mod signals;
mod table;
mod template;
mod terminal;
mod time;
mod together;
mod units;
mod verb;

use std::process::ExitCode;

use app::{App, program};
use globals::Globals;
use verb::Command;

fn main() -> ExitCode {
    let panics = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        terminal::restore();
        panics(panic);
    }));
    let words: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let code = match words.as_slice() {
        [word, daemon] if word == autostart::BECOME_DAEMON => autostart::become_daemon(daemon),
        [word, words @ ..] if word == complete::WORD => complete::main(words),
        words => start(words),
    };
    terminal::restore();
    ExitCode::from(code)
}

/// Reads the global options, finds the command and runs it.
fn start(words: &[String]) -> u8 {
    let (globals, words) = match Globals::read(words) {
        Ok(read) => read,
        Err(misuse) => {
            print::err_line(misuse.message);
            return misuse.code;
        }
    };
    if globals.version {
        print::line(help::version());
        return 0;
    }
    let mut app = App::new(globals, program().to_owned());
    if let Some(outcome) = by_plugin(&app, words) {
        return finish(outcome);
    }
    let Some((command, depth)) = find(words) else { return no_command(&app, words) };
    app.called = format!("{} {}", program(), words[..depth].join(" "));
    match command.run(&app, &words[depth..]) {
        Ok(outcome) => finish(outcome),
        Err(misuse) => {
            print::err_line(misuse.message);
            misuse.code
        }
    }
}

/// Tells a command's error, and gives the process's status.
fn finish(outcome: error::Result<u8>) -> u8 {
    outcome.unwrap_or_else(|error| {
        terminal::restore();
        let line = error.line();
        if !line.is_empty() {
            print::err_line(line);
        }
        error.code()
    })
}

/// The command at the front of `words`, and how many words name it.
fn find(words: &[String]) -> Option<(&'static Command, usize)> {
    let depth = words.iter().take(2).take_while(|word| !word.starts_with('-')).count();
    (1..=depth).rev().find_map(|depth| {
        let name = words[..depth].join(" ");
        let command = commands::ALL.iter().find(|c| c.path == name || c.aliases.contains(&name.as_str()))?;
        Some((command, depth))
    })
}

fn is_group(word: &str) -> bool {
    commands::GROUPS.iter().any(|(name, _)| *name == word)
}

/// Becomes the plugin that the words name, if they name one.
fn by_plugin(app: &App, words: &[String]) -> Option<error::Result<u8>> {
    let first = words.first().filter(|word| !word.starts_with('-') && *word != "help")?;
    let (name, words) = match first.as_str() {
        "bake" => ("buildx", [&["buildx".to_owned()], words].concat()),
        // Set by `buildx install`: that plugin builds from now on.
        "build" | "builder" => {
            let name = app.config().ok()?.entry("aliases", "builder")?.as_str()?;
            let rest = if first == "builder" { &words[1..] } else { words };
            (name, [&[name.to_owned()], rest].concat())
        }
        word if is_group(word) || find(words).is_some() => return None,
        word => (word, words.to_vec()),
    };
    let plugin = match app.config() {
        Ok(config) => plugin::find(config, name)?,
        Err(error) => return Some(Err(error)),
    };
    Some(plugin::run(app, &plugin, &words))
}

/// A group, a help text or a mistake.
fn no_command(app: &App, words: &[String]) -> u8 {
    let is_help = |word: &String| word == "--help" || word == "-h" || word == "help";
    let program = program();
    let Some(first) = words.first() else {
        print::out(help::program(app));
        return 0;
    };
    if first == "help" && words.len() > 1 {
        let topic = &words[1..];
        if find(topic).is_none() && !is_group(&topic[0]) {
            print::err_line(format!("unknown help topic: {}", topic.join(" ")));
            return 1;
        }
        return start(&[topic, &["--help".to_owned()]].concat());
    }
    if is_help(first) {
        print::out(help::program(app));
        return 0;
    }
    let Some((name, about)) = commands::GROUPS.iter().find(|(name, _)| name == first) else {
        let why = match commands::ABSENT.iter().find(|(name, _)| name == first) {
            Some((_, why)) => format!("{program}: '{program} {first}' is not there: {why}"),
            None => {
                let hint = help::did_you_mean(first, &[&help::top_level(), commands::GROUPS].concat());
                format!("{program}: unknown command: {program} {first}{hint}")
            }
        };
        print::err_line(format!("{why}\n\nRun '{program} --help' for more information"));
        return 1;
    };
    match words.get(1) {
        None => {
            print::err(help::group(name, about));
            0
        }
        Some(word) if is_help(word) => {
            print::out(help::group(name, about));
            0
        }
        Some(word) => {
            let hint = help::did_you_mean(word, &help::verbs(name));
            print::err_line(format!(
                "{program}: unknown command: {program} {name} {word}{hint}\n\nUsage:  {program} {name}\n\nRun \
                 '{program} {name} --help' for more information"
            ));
            1
        }
    }
}
