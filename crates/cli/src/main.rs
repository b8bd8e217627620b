//! corten: the command line.
//!
//! | room | what is in it |
//! |---|---|
//! | [`commands`] | one file per command, and the table that names them |
//! | [`verb`], [`help`] | what a command is, how its flags are read, its help |
//! | [`flags`] | the grammars of flags: ports, mounts, networks, sizes … |
//! | [`app`], [`config`], [`autostart`] | what all commands share |
//! | [`attach`], [`terminal`], [`signals`] | being the terminal of a container |
//! | [`template`], [`json`], [`table`], [`list`], [`units`] | `--format`, and what is shown without it |
//! | [`copy`], [`path`] | `cp`: what goes where, tar in and out |
//! | [`together`] | several requests at once |
//! | [`progress`] | pulls, pushes, loads and builds while they happen |
//!
//! A command is found in a static table and only its own flags are built: that, and a runtime of one thread, is
//! why the program starts in about a millisecond.

mod app;
mod attach;
mod autostart;
mod commands;
mod config;
mod copy;
mod error;
mod flags;
mod help;
mod json;
mod list;
mod path;
mod print;
mod progress;
mod signals;
mod table;
mod template;
mod terminal;
mod time;
mod together;
mod units;
mod verb;

use std::process::ExitCode;

use app::{App, Globals};
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
        words => start(words),
    };
    terminal::restore();
    ExitCode::from(code)
}

/// Reads the global options, finds the command and runs it.
fn start(words: &[String]) -> u8 {
    let (globals, words) = match global_options(words) {
        Ok(Some(found)) => found,
        Ok(None) => return 0,
        Err(message) => {
            print::err_line(format!(
                "{message}\n\nUsage:  corten [OPTIONS] COMMAND [ARG...]\n\nRun 'corten --help' for more information"
            ));
            return 125;
        }
    };
    let Some((command, depth)) = find(words) else { return no_command(words) };
    let called = format!("corten {}", words[..depth].join(" "));
    let app = App::new(globals, called.clone());
    match command.run(&app, &called, &words[depth..]) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            terminal::restore();
            let line = error.line();
            if !line.is_empty() {
                print::err_line(line);
            }
            error.code()
        }
        Err(misuse) => {
            print::err_line(misuse.message);
            misuse.code
        }
    }
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

/// A group, a help text or a mistake.
fn no_command(words: &[String]) -> u8 {
    let is_help = |word: &String| word == "--help" || word == "-h" || word == "help";
    let Some(first) = words.first() else {
        print::out(help::program());
        return 0;
    };
    if first == "help" && words.len() > 1 {
        let mut words = words[1..].to_vec();
        words.push("--help".into());
        return start(&words);
    }
    if is_help(first) {
        print::out(help::program());
        return 0;
    }
    let Some((name, about)) = commands::GROUPS.iter().find(|(name, _)| name == first) else {
        print::err_line(format!(
            "corten: unknown command: corten {first}\n\nRun 'corten --help' for more information"
        ));
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
            print::err_line(format!(
                "corten: unknown command: corten {name} {word}\n\nUsage:  corten {name}\n\nRun 'corten {name} \
                 --help' for more information"
            ));
            1
        }
    }
}

/// The options in front of the command, and the words after them; `None` when one of them was answered.
fn global_options(mut words: &[String]) -> Result<Option<(Globals, &[String])>, String> {
    let mut globals = Globals::default();
    while let Some((first, rest)) = words.split_first() {
        if !first.starts_with('-') || first == "--help" || first == "-h" {
            break;
        }
        words = rest;
        let (name, inline) = match first.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None if !first.starts_with("--") && first.len() > 2 && first.is_char_boundary(2) => {
                (&first[..2], Some(first[2..].to_owned()))
            }
            None => (first.as_str(), None),
        };
        let mut value = || -> Result<String, String> {
            if let Some(value) = &inline {
                return Ok(value.clone());
            }
            let (value, rest) = words.split_first().ok_or(format!("flag needs an argument: {first}"))?;
            words = rest;
            Ok(value.clone())
        };
        match name {
            "-H" | "--host" => globals.host = Some(value()?),
            "-c" | "--context" => globals.context = Some(value()?),
            "--config" => globals.config = Some(value()?.into()),
            "-l" | "--log-level" | "--tlscacert" | "--tlscert" | "--tlskey" => {
                value()?;
            }
            "-D" | "--debug" => {}
            "--tls" | "--tlsverify" => return Err(format!("{name}: TLS is not supported yet")),
            "-v" | "--version" => {
                print::line(format!("Corten version {}", env!("CARGO_PKG_VERSION")));
                return Ok(None);
            }
            name if name.starts_with("--") => return Err(format!("unknown flag: {name}")),
            name => {
                return Err(format!("unknown shorthand flag: '{}' in {first}", name.trim_start_matches('-')));
            }
        }
    }
    Ok(Some((globals, words)))
}
