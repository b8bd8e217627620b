//! `corten completion`: a shell script that completes commands and flags.

use std::ops::RangeInclusive;

use clap_complete::Shell;

use crate::app::App;
use crate::commands;
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    shell: Vec<String>,
}

impl Verb for Completion {
    const USAGE: &'static str = "bash|elvish|fish|powershell|zsh";
    const ABOUT: &'static str = "Generate the autocompletion script for the specified shell";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, _: &App) -> Result<u8> {
        let shell: Shell = self.shell[0].parse().map_err(|_| {
            Error::invalid(format!("unknown shell {:?}: expected {}", self.shell[0], Self::USAGE))
        })?;
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut tree(), "corten", &mut script);
        print::out(script);
        Ok(0)
    }
}

/// All commands as one tree, as only this command needs it.
fn tree() -> clap::Command {
    let mut root = clap::Command::new("corten").disable_help_subcommand(true);
    for (group, about) in commands::GROUPS {
        let mut node = clap::Command::new(*group).about(*about).disable_help_subcommand(true);
        for command in commands::ALL {
            let names = std::iter::once(&command.path).chain(command.aliases);
            for name in names.filter_map(|name| name.split_once(' ').filter(|(g, _)| g == group)) {
                node = node.subcommand(command.flags().name(name.1).about(command.about));
            }
        }
        root = root.subcommand(node);
    }
    for command in commands::ALL {
        let names = std::iter::once(&command.path).chain(command.aliases);
        for name in names.filter(|name| !name.contains(' ')) {
            root = root.subcommand(command.flags().name(*name).about(command.about));
        }
    }
    root
}
