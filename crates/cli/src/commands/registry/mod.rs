//! `corten login`, `corten logout`, `corten registry …`.

pub(crate) mod login;
pub(crate) mod serve;
