//! `corten manifest …`: lists of manifests, put together here and pushed to their registry. No engine is needed.

pub(crate) mod annotate;
pub(crate) mod create;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod push;
pub(crate) mod remove;
