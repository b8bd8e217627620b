//! What a command is, and how Docker's command line is read with clap.
//!
//! Docker's rules differ from clap's in a few places: a boolean may be given as `--flag=false`, the last of several
//! values wins, a value may begin with `-`, and `run`, `exec`, `create` and `top` end their options at the first
//! word that is not one. [`adapt`] teaches clap all of that, so a command's file holds only its flags.

use std::future::Future;
use std::ops::RangeInclusive;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches};

use crate::app::App;
use crate::error::{Error, Result};

/// One command: its flags (the type's fields), its words, and what it does.
pub(crate) trait Verb: clap::Args {
    /// What follows the command in its usage line.
    const USAGE: &'static str;
    /// One line for the list of commands.
    const ABOUT: &'static str;
    /// How many words that are not options it takes.
    const WORDS: RangeInclusive<usize>;
    /// For programs, not for people: it is not shown in lists of commands.
    const HIDDEN: bool = false;
    /// Whether options end at the first such word.
    const OPTIONS_FIRST: bool = false;
    /// Becomes the program that knows its options, and tells them; returns only where that cannot be.
    const TELLS_OPTIONS: Option<fn() -> Result<u8>> = None;

    /// Does it; the number is the process's exit status.
    fn run(self, app: &App) -> impl Future<Output = Result<u8>>;
}

/// No upper bound for [`Verb::WORDS`].
pub(crate) const MANY: usize = usize::MAX;

/// A command as the table of commands holds it.
pub(crate) struct Command {
    /// `container stop`
    pub(crate) path: &'static str,
    /// `stop`, and other spellings.
    pub(crate) aliases: &'static [&'static str],
    pub(crate) about: &'static str,
    pub(crate) usage: &'static str,
    /// Not shown in lists of commands.
    pub(crate) hidden: bool,
    words: (usize, usize),
    options_first: bool,
    tells_options: Option<fn() -> Result<u8>>,
    build: fn() -> clap::Command,
    main: fn(&App, &mut ArgMatches) -> Result<u8>,
}

/// The table's entry for a command.
pub(crate) const fn verb<V: Verb>(path: &'static str, aliases: &'static [&'static str]) -> Command {
    Command {
        path,
        aliases,
        about: V::ABOUT,
        usage: V::USAGE,
        hidden: V::HIDDEN,
        words: (*V::WORDS.start(), *V::WORDS.end()),
        options_first: V::OPTIONS_FIRST,
        tells_options: V::TELLS_OPTIONS,
        build: || V::augment_args(clap::Command::new("corten")),
        main: |app, matches| {
            let verb = V::from_arg_matches_mut(matches)
                .map_err(|error| Error::invalid(error.to_string().trim().to_owned()))?;
            app.block_on(verb.run(app))
        },
    }
}

/// Why a command line cannot be read.
#[derive(Debug)]
pub(crate) struct Misuse {
    /// The process's exit status.
    pub(crate) code: u8,
    pub(crate) message: String,
}

impl Command {
    /// The command's flags, in clap's terms.
    pub(crate) fn flags(&self) -> clap::Command {
        adapt((self.build)(), self.options_first)
    }

    /// Whether options end at the first word that is not one.
    pub(crate) fn options_first(&self) -> bool {
        self.options_first
    }

    /// Reads the words after the command and runs it.
    pub(crate) fn run(&self, app: &App, words: &[String]) -> std::result::Result<Result<u8>, Misuse> {
        let called = app.called.as_str();
        let mut flags = self.flags();
        let parsed =
            flags.try_get_matches_from_mut(std::iter::once("corten").chain(words.iter().map(String::as_str)));
        let mut matches = parsed.map_err(|error| self.misuse(&flags, called, words, &error))?;
        if matches.get_flag("help") {
            let _ = self.tells_options.map(|tell| tell());
            crate::print::out(crate::help::command(self, called, &flags));
            return Ok(Ok(0));
        }
        let given = flags
            .get_positionals()
            .next()
            .and_then(|arg| matches.get_many::<String>(arg.get_id().as_str()))
            .map_or(0, Iterator::count);
        self.check_words(called, given)?;
        Ok((self.main)(app, &mut matches))
    }

    fn check_words(&self, called: &str, given: usize) -> std::result::Result<(), Misuse> {
        let (least, most) = self.words;
        if (least..=most).contains(&given) {
            return Ok(());
        }
        let argument = |n: usize| if n == 1 { "argument" } else { "arguments" };
        let (wanted, hint) = match (least, most) {
            (_, 0) => ("accepts no arguments".to_owned(), "Run"),
            (_, MANY) => (format!("requires at least {least} {}", argument(least)), "See"),
            _ if least == most => (format!("requires {least} {}", argument(least)), "Run"),
            (0, _) => (format!("requires at most {most} {}", argument(most)), "Run"),
            _ => (format!("requires at least {least} and at most {most} {}", argument(most)), "Run"),
        };
        Err(Misuse {
            code: 1,
            message: format!(
                "{}: '{called}' {wanted}\n\nUsage:  {called} {}\n\n{hint} '{called} --help' for more information",
                crate::app::program(),
                self.usage
            ),
        })
    }

    fn misuse(&self, flags: &clap::Command, called: &str, words: &[String], error: &clap::Error) -> Misuse {
        let text = |kind| match error.get(kind) {
            Some(ContextValue::String(text)) => text.clone(),
            _ => String::new(),
        };
        let argument = text(ContextKind::InvalidArg);
        let value = text(ContextKind::InvalidValue);
        let reason = match error.kind() {
            ErrorKind::UnknownArgument if argument.starts_with("--") => format!("unknown flag: {argument}"),
            ErrorKind::UnknownArgument if argument.starts_with('-') => {
                format!("unknown shorthand flag: '{0}' in -{0}", argument.trim_start_matches('-'))
            }
            ErrorKind::InvalidValue if value.is_empty() => match words.last() {
                Some(word) if word.starts_with('-') && !word.starts_with("--") => {
                    format!("flag needs an argument: '{}' in {word}", word.chars().last().unwrap_or_default())
                }
                Some(_) | None => {
                    format!(
                        "flag needs an argument: {}",
                        argument.split([' ', '=', '[']).next().unwrap_or(&argument)
                    )
                }
            },
            ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
                let cause = std::error::Error::source(error)
                    .map_or_else(String::new, |e| format!(": {}", number(e, &argument, &value)));
                format!("invalid argument {value:?} for \"{}\" flag{cause}", spelling(flags, &argument))
            }
            _ => error.to_string().trim().trim_start_matches("error: ").to_owned(),
        };
        Misuse {
            code: 125,
            message: format!(
                "{reason}\n\nUsage:  {called} {}\n\nRun '{called} --help' for more information",
                self.usage
            ),
        }
    }
}

/// Why a value is refused; for a number, in the words of Go's `strconv`.
fn number(cause: &(dyn std::error::Error + 'static), argument: &str, value: &str) -> String {
    use std::num::IntErrorKind;
    let Some(cause) = cause.downcast_ref::<std::num::ParseIntError>() else { return cause.to_string() };
    let function = if argument.contains("uint") { "ParseUint" } else { "ParseInt" };
    let reason = match cause.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("strconv.{function}: parsing {value:?}: {reason}")
}

/// `-m, --memory` for clap's `--memory <bytes>`.
fn spelling(flags: &clap::Command, argument: &str) -> String {
    let long = argument.trim_start_matches('-').split([' ', '=', '[']).next().unwrap_or_default();
    match flags.get_arguments().find(|arg| arg.get_long() == Some(long)).and_then(Arg::get_short) {
        Some(short) => format!("-{short}, --{long}"),
        None => format!("--{long}"),
    }
}

/// Gives a command Docker's rules.
pub(crate) fn adapt(flags: clap::Command, options_first: bool) -> clap::Command {
    let mut flags = flags
        .disable_help_flag(true)
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(Arg::new("help").long("help").action(ArgAction::SetTrue).hide(true));
    if flags.get_positionals().next().is_none() {
        // Taken, so that they can be counted and refused in Docker's words.
        flags = flags.arg(Arg::new("words").num_args(0..).action(ArgAction::Append));
    }
    if !flags.get_arguments().any(|arg| arg.get_short() == Some('h')) {
        flags = flags.mut_arg("help", |help| help.short('h'));
    }
    flags.mut_args(|arg| {
        if arg.is_positional() {
            return arg.num_args(0..).required(false).trailing_var_arg(options_first);
        }
        match arg.get_action() {
            ArgAction::SetTrue => {
                let default = if arg.get_default_values().is_empty() { "false" } else { "true" };
                arg.action(ArgAction::Set)
                    .num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
                    .default_value(default)
                    .value_parser(parse_bool)
            }
            _ => arg.allow_hyphen_values(true),
        }
    })
}

/// Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> std::result::Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {text:?}: invalid syntax")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::FromArgMatches as _;

    #[derive(clap::Args, Debug)]
    struct Flags {
        #[arg(short, long)]
        interactive: bool,
        #[arg(short, long)]
        tty: bool,
        #[arg(long, default_value_t = true)]
        sig_proxy: bool,
        #[arg(short, long)]
        env: Vec<String>,
        #[arg(long)]
        memory_swap: Option<i64>,
        words: Vec<String>,
    }

    fn read(words: &str) -> Flags {
        let command = adapt(<Flags as clap::Args>::augment_args(clap::Command::new("x")), true);
        let matches = command.try_get_matches_from(format!("x {words}").split_whitespace()).unwrap();
        Flags::from_arg_matches(&matches).unwrap()
    }

    #[test]
    fn flags_are_read_as_docker_reads_them() {
        let flags = read("-it --sig-proxy=false --memory-swap -1 -e A=1 -eB=2 img -it --rm -- x");
        assert!(flags.interactive && flags.tty && !flags.sig_proxy);
        assert_eq!(flags.memory_swap, Some(-1));
        assert_eq!(flags.env, ["A=1", "B=2"]);
        assert_eq!(flags.words, ["img", "-it", "--rm", "--", "x"]);
        let flags = read("--tty=false -i=0 --sig-proxy --memory-swap=5 --memory-swap=6 -- img -t");
        assert!(!flags.interactive && !flags.tty && flags.sig_proxy);
        assert_eq!(flags.memory_swap, Some(6));
        assert_eq!(flags.words, ["img", "-t"]);
    }
}
