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
                let text = std::fs::read_to_string(file).map_err(|source| {
                    let reason = Error::file("open", file)(source).line();
                    Error::invalid(format!("opening seccomp profile ({file}) failed: {reason}"))
                })?;
                let json = compact(&text).map_err(|error| {
                    Error::invalid(format!("compacting json for seccomp profile ({file}) failed: {error}"))
                })?;
                host.security_opt.push(format!("seccomp={json}"));
            }
            ("no-new-privileges", _) => host.security_opt.push(option.clone()),
            (_, "") => return Err(Error::invalid(format!("Invalid --security-opt: {option:?}"))),
            _ => host.security_opt.push(option.clone()),
        }
    }
    Ok(())
}

/// JSON without the blanks between its parts; its order and its numbers stay as they are.
fn compact(text: &str) -> serde_json::Result<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text)?;
    let (mut quoted, mut escaped) = (false, false);
    let kept = text.chars().filter(|c| {
        let keep = quoted || !c.is_ascii_whitespace();
        quoted ^= *c == '"' && !escaped;
        escaped = quoted && *c == '\\' && !escaped;
        keep
    });
    Ok(kept.collect())
}

/// The capabilities to add and to drop, as the engine spells them. What is added is not dropped, `ALL` stands for
/// all others.
pub(crate) fn capabilities(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let (add, drop) = (spelled(add), spelled(drop));
    let drop = drop.into_iter().filter(|capability| !add.contains(capability)).collect();
    (add.into_iter().collect(), drop)
}

fn spelled(words: &[String]) -> std::collections::BTreeSet<String> {
    const ALL: &str = "ALL";
    let names = words.iter().map(|word| word.trim().to_ascii_uppercase());
    let names: std::collections::BTreeSet<_> = names
        .map(|name| match name.as_str() {
            ALL | "RESET" => name,
            _ if name.starts_with("CAP_") => name,
            _ => format!("CAP_{name}"),
        })
        .collect();
    if names.contains(ALL) { [ALL.to_owned()].into() } else { names }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_compacted() {
        assert_eq!(
            compact("{ \"b\" : [1, 2.50],\n \"a\": \"x \\\" y\" }").unwrap(),
            r#"{"b":[1,2.50],"a":"x \" y"}"#
        );
        assert!(compact("nojson").is_err() && compact("{} x").is_err());
    }

    #[test]
    fn capabilities_are_spelled_out() {
        let words = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let (add, drop) = capabilities(&words(&["net_admin", "CAP_KILL", "KILL"]), &words(&["all", "chown"]));
        assert_eq!((add, drop), (words(&["CAP_KILL", "CAP_NET_ADMIN"]), words(&["ALL"])));
        let (add, drop) = capabilities(&words(&["kill"]), &words(&["kill", "chown"]));
        assert_eq!((add, drop), (words(&["CAP_KILL"]), words(&["CAP_CHOWN"])));
    }
}
