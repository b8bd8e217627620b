//! `corten volume create`.

use std::ops::RangeInclusive;

use spec::api::VolumeCreateRequest;

use crate::app::App;
use crate::error::{Error, Result};
use crate::flags::map;
use crate::print;
use crate::verb::Verb;

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Volume driver to use
    #[arg(short, long, default_value = "local")]
    driver: String,
    /// Set a label on the volume
    #[arg(long)]
    label: Vec<String>,
    /// Name of the volume
    #[arg(long, default_value = "", hide = true)]
    name: String,
    /// Set an option of the driver (of "local": type, device, o, size; Corten only: uid, gid, mode)
    #[arg(short, long)]
    opt: Vec<String>,
    volume: Vec<String>,
}

impl Verb for Create {
    const USAGE: &'static str = "[OPTIONS] [VOLUME]";
    const ABOUT: &'static str = "Create a volume";
    const WORDS: RangeInclusive<usize> = 0..=1;

    async fn run(self, app: &App) -> Result<u8> {
        let name = match (self.volume.first(), self.name.as_str()) {
            (Some(_), name) if !name.is_empty() => {
                return Err(Error::invalid(
                    "conflicting options: cannot specify a volume-name through both --name and as a positional arg",
                ));
            }
            (Some(name), _) => name.clone(),
            (None, name) => name.to_owned(),
        };
        let request = VolumeCreateRequest {
            name,
            driver: self.driver,
            driver_opts: map(&self.opt),
            labels: map(&self.label),
            ..VolumeCreateRequest::default()
        };
        print::line(app.client().await?.volume_create(&request).await?.name);
        Ok(0)
    }
}
