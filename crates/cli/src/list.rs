//! Lists: a template for each row, a header if the template begins with `table`.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::template::Template;
use crate::{print, table};

/// How a kind of object is listed.
#[derive(Debug)]
pub(crate) struct Kind {
    /// The template without `--format`.
    pub(crate) table: &'static str,
    /// The template with `--quiet`.
    pub(crate) quiet: &'static str,
    /// Each field's header.
    pub(crate) headers: &'static [(&'static str, &'static str)],
}

impl Kind {
    /// Prints the rows. `format` is the user's, `fallback` what `config.json` says.
    pub(crate) fn show(
        &self,
        format: Option<&str>,
        fallback: Option<&str>,
        quiet: bool,
        rows: impl IntoIterator<Item = Json>,
    ) -> Result<()> {
        print::out(self.text(format, fallback, quiet, rows)?);
        Ok(())
    }

    /// The rows as text; see [`Kind::show`].
    pub(crate) fn text(
        &self,
        format: Option<&str>,
        fallback: Option<&str>,
        quiet: bool,
        rows: impl IntoIterator<Item = Json>,
    ) -> Result<String> {
        let format = match format.filter(|f| !f.is_empty()).or(fallback.filter(|_| !quiet)) {
            None if quiet => self.quiet,
            None | Some("table") => self.table,
            Some("json") => "{{json .}}",
            Some(_) if quiet && format.is_none_or(|f| f == "table") => self.quiet,
            Some(format) => format,
        };
        self.render(format, rows)
    }

    fn render(&self, format: &str, rows: impl IntoIterator<Item = Json>) -> Result<String> {
        let text = format.trim_matches(' ');
        let (is_table, text) = match text.strip_prefix("table") {
            Some(rest) => (true, rest.trim()),
            None => (false, text),
        };
        let template = Template::parse(&text.replace("\\t", "\t").replace("\\n", "\n")).map_err(|error| {
            let error = error.to_string();
            let reason = error.strip_prefix("template parsing error: ").unwrap_or(&error);
            Error::invalid(format!("failed to parse template: {reason}"))
        })?;
        let executed = |error| Error::invalid(format!("failed to execute template: {error}"));
        let mut out = String::new();
        if is_table {
            let headers: Vec<_> = self
                .headers
                .iter()
                .map(|(field, header)| ((*field).to_owned(), Json::from(*header)))
                .collect();
            out.push_str(&template.render_header(&Json::Object(headers)).map_err(executed)?);
            out.push('\n');
        }
        for row in rows {
            let text = template.render(&row);
            out.push_str(&text.map_err(executed)?);
            out.push('\n');
        }
        Ok(if is_table { table::align(&out) } else { out })
    }
}

/// A row from its fields; as JSON they are shown by name, as Go shows a map.
pub(crate) fn row(mut fields: Vec<(&str, Json)>) -> Json {
    fields.sort_by_key(|(name, _)| *name);
    object(fields)
}

/// An object from its members, in their order.
pub(crate) fn object(members: Vec<(&str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Labels as `.Labels` shows them, and as `.Label "name"` finds them.
pub(crate) fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> (Json, Json) {
    let labels: Vec<_> = labels.into_iter().collect();
    let text: Vec<_> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let map = labels.into_iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect();
    (text.join(",").into(), Json::Object(map))
}

/// Cut to `width` characters, the last of them `…` if something is missing.
pub(crate) fn ellipsis(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width - 1).chain(['…']).collect()
}

/// An id's first twelve digits, without its algorithm.
pub(crate) fn short_id(id: &str) -> &str {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.get(..12).unwrap_or(id)
}
