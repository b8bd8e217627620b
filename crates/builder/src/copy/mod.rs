//! COPY and ADD, file by file.
//!
//! | room | what is in it |
//! |---|---|
//! | [`tree`] | which files: selection, filters, walks |
//! | [`content`] | their digest, for the cache |
//! | [`place`] | into a root |
//! | `archive` | archives, for ADD |
//! | `spread` | many files on all processors |
//! | [`mode`] | `--chmod` |
//! | [`owner`] | `--chown` |

mod archive;
pub(crate) mod content;
pub(crate) mod mode;
pub(crate) mod owner;
pub(crate) mod place;
mod spread;
pub(crate) mod tree;

#[cfg(test)]
mod tests;
