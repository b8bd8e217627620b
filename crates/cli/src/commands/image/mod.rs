//! `corten image …`.

pub(crate) mod build;
pub(crate) mod context;
pub(crate) mod copy;
pub(crate) mod history;
pub(crate) mod ignore;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod layers;
pub(crate) mod list;
pub(crate) mod load;
pub(crate) mod prune;
pub(crate) mod pull;
pub(crate) mod push;
pub(crate) mod remove;
pub(crate) mod save;
pub(crate) mod tag;
pub(crate) mod tree;

use std::io;

use client::Upload;
use spec::Reference;

use crate::error::{Error, Result};
use crate::print;

/// A reference as the user wrote it.
fn reference(text: &str) -> Result<Reference> {
    text.parse().map_err(|error| Error::invalid(format!("{error}")))
}

/// The image that a pull or push names: `latest` if no tag is said, all of them with `--all-tags`.
fn named(text: &str, all_tags: bool, quiet: bool) -> Result<Reference> {
    let image = reference(text)?;
    let bare = image.tag.is_none() && image.digest.is_none();
    match (all_tags, bare) {
        (true, false) => Err(Error::invalid("tag can't be used with --all-tags/-a")),
        (true, true) => Ok(image),
        (false, _) => {
            if bare && !quiet {
                print::line(format!("Using default tag: {}", spec::reference::DEFAULT_TAG));
            }
            Ok(image.or_latest())
        }
    }
}

/// Sends what a reader holds; the reading is done by a thread of its own.
pub(crate) fn upload(mut reader: impl io::Read + Send + 'static) -> Upload {
    let (mut writer, upload) = Upload::new();
    std::thread::spawn(move || match io::copy(&mut reader, &mut writer) {
        // The connection's end tells the engine's side of the story.
        Ok(_) => drop(writer.finish()),
        Err(error) => writer.abort(error),
    });
    upload
}
