//! `--volume` and `--tmpfs`.

use std::collections::BTreeMap;

use crate::path;

/// What one `--volume` asks for.
#[derive(Debug, PartialEq)]
pub(crate) enum Volume {
    /// A path of the container: a new volume without a name.
    Anonymous(String),
    /// `source:target[:options]`, the source absolute or a volume's name.
    Bind(String),
}

/// `[source:]target[:options]`. A source that begins with a dot is taken from `current`.
pub(crate) fn parse(text: &str, current: &std::path::Path, home: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.is_empty()) {
        return Err(format!("invalid spec: {text}: empty section between colons"));
    }
    match parts.as_slice() {
        [target] => Ok(Volume::Anonymous((*target).to_owned())),
        [_, _] | [_, _, _] => {
            let (source, rest) = text.split_once(':').expect("there are two parts or more");
            let source = if source.starts_with('.') {
                path::clean(&current.join(source).to_string_lossy())
            } else if let Some(rest) = source.strip_prefix("~/") {
                format!("{home}/{rest}")
            } else {
                source.to_owned()
            };
            Ok(Volume::Bind(format!("{source}:{rest}")))
        }
        _ => Err(format!("invalid spec: {text}: too many colons")),
    }
}

/// `target[:options]`.
pub(crate) fn tmpfs(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .map(|word| {
            let (target, options) = word.split_once(':').unwrap_or((word, ""));
            (target.to_owned(), options.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_targets() {
        let parse = |text| parse(text, "/home/me/here".as_ref(), "/home/me");
        for (text, wanted) in [
            ("/data", Volume::Anonymous("/data".into())),
            ("name:/data", Volume::Bind("name:/data".into())),
            ("/a:/b:ro,z", Volume::Bind("/a:/b:ro,z".into())),
            (".:/b", Volume::Bind("/home/me/here:/b".into())),
            ("../x/./y:/b:ro", Volume::Bind("/home/me/x/y:/b:ro".into())),
            ("~/x:/b", Volume::Bind("/home/me/x:/b".into())),
        ] {
            assert_eq!(parse(text).unwrap(), wanted);
        }
        for bad in ["", ":/b", "a:", "a::b", "a:b:c:d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
