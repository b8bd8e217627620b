//! `corten context use`.

use std::ops::RangeInclusive;

use super::store;
use crate::app::{App, env};
use crate::context::{self, DEFAULT};
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Use {
    name: Vec<String>,
}

impl Verb for Use {
    const USAGE: &'static str = "CONTEXT";
    const ABOUT: &'static str = "Set the current docker context";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = &self.name[0];
        if name == DEFAULT {
            app.config()?.set("currentContext", None)?;
        } else {
            context::check_name(name)?;
            store(app)?.read(name)?;
            app.config()?.set("currentContext", Some(name.as_str().into()))?;
        }
        print::line(name);
        print::err_line(format!("Current context is now {name:?}"));
        if name != DEFAULT && env("DOCKER_HOST").is_some() {
            print::err_line(format!(
                "Warning: DOCKER_HOST environment variable overrides the active context. To use {name:?}, either set \
                 the global --context flag, or unset DOCKER_HOST environment variable."
            ));
        }
        Ok(0)
    }
}
