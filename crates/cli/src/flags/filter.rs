//! `--filter key=value`.

use spec::Filters;

use crate::error::{Error, Result};

/// A checked `key=value`, for clap.
pub(crate) fn word(text: &str) -> std::result::Result<String, String> {
    match text.split_once('=') {
        Some(_) => Ok(text.to_owned()),
        None => Err("bad format of filter (expected name=value)".into()),
    }
}

/// All `--filter` words as the API's parameter.
pub(crate) fn filters(words: &[String]) -> Result<Filters> {
    let mut filters = Filters::default();
    for word in words {
        let (key, value) = word
            .split_once('=')
            .ok_or_else(|| Error::invalid("bad format of filter (expected name=value)"))?;
        filters.add(key.trim().to_lowercase(), value.trim());
    }
    Ok(filters)
}
