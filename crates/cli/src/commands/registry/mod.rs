//! `corten login`, `corten logout`, `corten search`, `corten registry …`.

pub(crate) mod login;
pub(crate) mod search;
pub(crate) mod serve;
