//! `--security-opt`.

use spec::api::HostConfig;

use crate::error::{Error, Result};

/// Sorts the options: a seccomp file's content takes the place of its name, `systempaths=unconfined` is ours to
/// translate, the rest goes to the engine as it is.
pub(crate) fn apply(options: &[String], host: &mut HostConfig) -> Result<()> {
    for option in options {
        let (key, value) = option.split_once('=').or_else(|| option.split_once(':')).unwrap_or((option, ""));
        match (key, value) {
            ("systempaths", "unconfined") => {
                host.masked_paths = Some(Vec::new());
                host.readonly_paths = Some(Vec::new());
            }
            ("seccomp", file) if !matches!(file, "unconfined" | "builtin" | "") => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Error::invalid(format!("opening seccomp profile ({file}) failed: {error}"))
                })?;
                let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| {
                    Error::invalid(format!("compacting json for seccomp profile ({file}) failed: {error}"))
                })?;
                host.security_opt.push(format!("seccomp={json}"));
            }
            ("no-new-privileges", _) => host.security_opt.push(option.clone()),
            (_, "") => return Err(Error::invalid(format!("invalid --security-opt: {option:?}"))),
            _ => host.security_opt.push(option.clone()),
        }
    }
    Ok(())
}
