//! `corten system …`, and what concerns no single kind of object.

pub(crate) mod build_du;
pub(crate) mod build_prune;
pub(crate) mod completion;
pub(crate) mod df;
pub(crate) mod dial_stdio;
pub(crate) mod events;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod install;
pub(crate) mod prune;
pub(crate) mod version;
