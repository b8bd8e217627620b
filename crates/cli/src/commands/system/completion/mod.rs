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
        let script = match self.shell[0].as_str() {
            "bash" => include_str!("completion.bash"),
            "zsh" => include_str!("completion.zsh"),
            "fish" => include_str!("completion.fish"),
            other => {
                return Err(Error::invalid(format!("unknown shell {other:?}: expected {}", Self::USAGE)));
            }
        };
        print::out(script.replace("PROGRAM", program()));
        Ok(0)
    }
}
