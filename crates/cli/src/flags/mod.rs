//! The grammars of flags, and the flags that `run` and `create` share.

pub(crate) mod changes;
pub(crate) mod checked;
pub(crate) mod create;
pub(crate) mod device;
pub(crate) mod env;
pub(crate) mod filter;
pub(crate) mod limits;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod request;
pub(crate) mod secret;
pub(crate) mod security;
pub(crate) mod volume;

use std::collections::BTreeMap;

/// `key=value` words as a map; a word without `=` has an empty value.
pub(crate) fn map(words: &[String]) -> BTreeMap<String, String> {
    words
        .iter()
        .map(|word| {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect()
}

/// Splits one line of CSV: fields between commas, a quoted field may hold commas, `""` is a quote.
pub(crate) fn csv(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("EOF".into());
    }
    let mut fields = vec![String::new()];
    let mut chars = text.char_indices().map(|(at, c)| (at + 1, c)).peekable();
    let mut quoted = false;
    while let Some((column, c)) = chars.next() {
        let field = fields.last_mut().expect("there is always a field");
        match c {
            '"' if quoted && chars.next_if(|(_, next)| *next == '"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => {
                return Err(format!("parse error on line 1, column {column}: bare \" in non-quoted-field"));
            }
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        let end = text.len() + 1;
        return Err(format!("parse error on line 1, column {end}: extraneous or missing \" in quoted-field"));
    }
    Ok(fields)
}

/// `"a=b"` as ("a", "b"), keys in lower case; an error names the field.
pub(crate) fn key_value(field: &str) -> Result<(String, &str), String> {
    let (key, value) =
        field.split_once('=').ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
    Ok((key.trim().to_ascii_lowercase(), value))
}

#[cfg(test)]
mod tests {
    #[test]
    fn csv_with_quotes() {
        assert_eq!(super::csv(r#"a=1,"b=2,3",c"#).unwrap(), ["a=1", "b=2,3", "c"]);
        assert_eq!(super::csv(r#""x""y",z"#).unwrap(), ["x\"y", "z"]);
        assert!(super::csv(r#""open"#).is_err());
    }
}
