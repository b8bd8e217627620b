//! `corten volume import`.

use std::ops::RangeInclusive;

use spec::api::VolumeCreateRequest;

use crate::app::App;
use crate::commands::container::need_corten;
use crate::commands::image;
use crate::error::{Error, Result};
use crate::flags::{checked, map};
use crate::verb::Verb;
use crate::{print, terminal};

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Set a label on the volume
    #[arg(long, value_parser = checked::label)]
    label: Vec<String>,
    /// Set an option of the driver: size, uid, gid, mode
    #[arg(short, long)]
    opt: Vec<String>,
    words: Vec<String>,
}

impl Verb for Import {
    const USAGE: &'static str = "[OPTIONS] file|- VOLUME";
    const ABOUT: &'static str = "Make a new volume from a tar archive, plain or compressed (Corten only)";
    const WORDS: RangeInclusive<usize> = 2..=2;

    async fn run(self, app: &App) -> Result<u8> {
        let upload = match self.words[0].as_str() {
            "-" if terminal::stdin_is_terminal() => {
                return Err(Error::invalid("requested import from stdin, but stdin is empty"));
            }
            "-" => image::upload(std::io::stdin()),
            path => image::upload(std::fs::File::open(path).map_err(Error::file("open", path))?),
        };
        let request = VolumeCreateRequest {
            name: self.words[1].clone(),
            driver_opts: map(&self.opt),
            labels: map(&self.label),
            ..VolumeCreateRequest::default()
        };
        let client = app.client().await?;
        need_corten(client, "importing a volume").await?;
        print::line(client.volume_import(&request, upload).await?.name);
        Ok(0)
    }
}
