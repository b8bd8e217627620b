//! `corten context update`.

use std::ops::RangeInclusive;

use super::{create, store};
use crate::app::App;
use crate::context;
use crate::error::Result;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Update {
    /// Description of the context
    #[arg(long)]
    description: Option<String>,
    /// Set the docker endpoint: "host=…,ca=…,cert=…,key=…,skip-tls-verify=…", or "from=…" for that of another context
    #[arg(long, value_name = "stringToString")]
    docker: Vec<String>,
    name: Vec<String>,
}

impl Verb for Update {
    const USAGE: &'static str = "[OPTIONS] CONTEXT";
    const ABOUT: &'static str = "Update a context";
    const WORDS: RangeInclusive<usize> = 1..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = &self.name[0];
        context::check_name(name)?;
        let store = store(app)?;
        let mut meta = store.read(name)?;
        if let Some(description) = &self.description {
            meta.describe(description);
        }
        if !self.docker.is_empty() {
            let tls = create::configure(app, &mut meta, &self.docker)?;
            store.write_tls(name, &tls)?;
        }
        store.write(&meta)?;
        print::line(name);
        print::err_line(format!("Successfully updated context {name:?}"));
        Ok(0)
    }
}
