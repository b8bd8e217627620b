//! `corten completion`: a shell script that asks this program what a word may become.

use std::ops::RangeInclusive;

use crate::app::{App, program};
use crate::error::{Error, Result};
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    shell: Vec<String>,
}

impl Verb for Completion {
    const USAGE: &'static str = "bash|zsh|fish";
    const ABOUT: &'static str = "Generate the autocompletion script for the specified shell";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, _: &App) -> Result<u8> {
        let shell = self.shell[0].as_str();
        let script = script(shell)
            .ok_or_else(|| Error::invalid(format!("unknown shell {shell:?}: expected {}", Self::USAGE)))?;
        print::out(script);
        Ok(0)
    }
}

/// The script of one shell.
pub(super) fn script(shell: &str) -> Option<String> {
    let script = match shell {
        "bash" => include_str!("completion.bash"),
        "zsh" => include_str!("completion.zsh"),
        "fish" => include_str!("completion.fish"),
        _ => return None,
    };
    Some(script.replace("PROGRAM", program()))
}
