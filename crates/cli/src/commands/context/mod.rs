//! `corten context …`.

pub(crate) mod create;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod remove;
pub(crate) mod show;
pub(crate) mod update;
pub(crate) mod use_;

use crate::app::App;
use crate::context::Store;
use crate::error::Result;

fn store(app: &App) -> Result<Store> {
    Ok(Store::new(app.config()?.directory()))
}
