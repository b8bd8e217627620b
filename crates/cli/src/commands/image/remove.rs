//! `corten rmi`.

use std::ops::RangeInclusive;

use crate::app::App;
use crate::error::{Error, Result};
use crate::print;
use crate::verb::{MANY, Verb};

#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Remove the image even if stopped containers use it
    #[arg(short, long)]
    force: bool,
    /// Do not delete untagged parents
    #[arg(long)]
    no_prune: bool,
    /// Remove only the given platform (os[/arch[/variant]])
    #[arg(long, value_delimiter = ',')]
    platform: Vec<String>,
    images: Vec<String>,
}

impl Verb for Remove {
    const USAGE: &'static str = "[OPTIONS] IMAGE [IMAGE...]";
    const ABOUT: &'static str = "Remove one or more images";
    const WORDS: RangeInclusive<usize> = 1..=MANY;

    async fn run(self, app: &App) -> Result<u8> {
        let client = app.client().await?;
        let platforms: Vec<_> = self.platform.iter().map(|p| super::push::platform_json(p)).collect();
        let mut code = 0;
        for image in &self.images {
            match client.image_remove(image, self.force, self.no_prune, &platforms).await {
                Ok(items) => {
                    for item in items {
                        if item.deleted.is_empty() {
                            print::line(format!("Untagged: {}", item.untagged));
                        } else {
                            print::line(format!("Deleted: {}", item.deleted));
                        }
                    }
                }
                Err(error) => {
                    // With force, what is not there is as good as removed.
                    code = if self.force && error.is_not_found() { code } else { 1 };
                    print::err_line(Error::from(error).line());
                }
            }
        }
        Ok(code)
    }
}
