//! `corten top`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::Result;
use crate::verb::{MANY, Verb};
use crate::{print, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    container_and_options: Vec<String>,
}

impl Verb for Top {
    const USAGE: &'static str = "CONTAINER [ps OPTIONS]";
    const ABOUT: &'static str = "Display the running processes of a container";
    const WORDS: RangeInclusive<usize> = 1..=MANY;
    const OPTIONS_FIRST: bool = true;

    async fn run(self, app: &App) -> Result<u8> {
        let (container, options) = self.container_and_options.split_first().expect("one word or more");
        let answer = app.client().await?.container_top(container, &options.join(" ")).await?;
        let mut out = answer.titles.join("\t");
        out.push('\n');
        for process in &answer.processes {
            out.push_str(&process.join("\t"));
            out.push('\n');
        }
        print::out(table::align_with(&out, 20, 3));
        Ok(0)
    }
}
