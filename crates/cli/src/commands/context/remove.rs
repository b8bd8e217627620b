//! `corten context rm`.

use std::ops::RangeInclusive;

use super::store;
use crate::app::App;
use crate::context::{DEFAULT, Store};
use crate::error::{Error, Result};
use crate::print;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Force the removal of a context in use
    #[arg(short, long)]
    force: bool,
    names: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "CONTEXT [CONTEXT...]";
    const ABOUT: &'static str = "Remove one or more contexts";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let (store, current) = (store(app)?, app.context()?);
        let mut code = 0;
        for name in &self.names {
            match self.remove(app, &store, name, *name == current) {
                Ok(()) => print::line(name),
                Err(error) => {
                    print::err_line(error.line());
                    code = 1;
                }
            }
        }
        Ok(code)
    }
}

impl Remove {
    fn remove(&self, app: &App, store: &Store, name: &str, in_use: bool) -> Result<()> {
        if name == DEFAULT {
            return Err(Error::invalid(format!("context {DEFAULT:?} cannot be removed")));
        }
        if !store.exists(name) {
            return if self.force {
                Ok(())
            } else {
                Err(Error::invalid(format!("context {name:?} does not exist")))
            };
        }
        if in_use && !self.force {
            return Err(Error::invalid(format!("context {name:?} is in use, set -f flag to force remove")));
        }
        if in_use {
            app.config()?.set("currentContext", None)?;
        }
        store.remove(name)
    }
}
