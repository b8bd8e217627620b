//! The table of directives as command line flags.

use clap::builder::TypedValueParser as _;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};
use serde_json::{Map, Value};

use super::keys::{self, Fate, Key, Kind};

/// The directives that were given as flags, under their names in daemon.json.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub(crate) Map<String, Value>);

impl clap::Args for Flags {
    fn augment_args(mut command: Command) -> Command {
        for section in keys::SECTIONS {
            for (key, flag) in section.keys.iter().filter_map(|key| Some((key, key.flag?))) {
                command = command.arg(argument(key, flag).help_heading(section.title));
            }
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for key in keys::all().filter(|key| key.flag.is_some()) {
            if matches.value_source(key.name) != Some(ValueSource::CommandLine) {
                continue;
            }
            for value in matches.get_many::<Value>(key.name).into_iter().flatten() {
                match self.0.get_mut(key.name) {
                    Some(before) => key.kind.add(before, value.clone()),
                    None => {
                        self.0.insert(key.name.into(), value.clone());
                    }
                }
            }
        }
        Ok(())
    }
}

fn argument(key: &'static Key, flag: &'static str) -> Arg {
    let kind = key.kind;
    let parser = clap::builder::StringValueParser::new().try_map(move |text| kind.read(&text));
    let mut argument = Arg::new(key.name)
        .long(flag)
        .help(key.help)
        .value_name(value_name(kind))
        // What cannot be set is known, so that it can be refused by name, but it is not offered.
        .hide(!matches!(key.fate, Fate::Works))
        .action(if kind.repeats() { ArgAction::Append } else { ArgAction::Set })
        .value_parser(parser);
    if let Some(letter) = key.short {
        argument = argument.short(letter);
    }
    match kind {
        Kind::Bool => argument.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Number => argument.allow_negative_numbers(true),
        _ => argument,
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOL",
        Kind::Number => "N",
        Kind::Text | Kind::List | Kind::Object | Kind::Objects => "VALUE",
        Kind::Pairs => "KEY=VALUE",
        Kind::Switches => "NAME=BOOL",
        Kind::Pools => "POOL",
        Kind::Ulimits => "LIMIT",
        Kind::Runtimes => "NAME=PATH",
        Kind::Nested => "OPTION",
    }
}
