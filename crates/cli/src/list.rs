//! Lists: a template for each row, a header if the template begins with `table`.

use crate::error::{Error, Result};
use crate::json::Json;
use crate::template::{Template, TemplateError};
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
        let layout = self.layout(format, fallback, quiet)?;
        layout.text(rows.into_iter().map(|row| layout.line(&row)))
    }

    /// How the rows are written; see [`Kind::show`].
    pub(crate) fn layout(
        &self,
        format: Option<&str>,
        fallback: Option<&str>,
        quiet: bool,
    ) -> Result<Layout<'_>> {
        let format = match format.filter(|f| !f.is_empty()).or(fallback.filter(|_| !quiet)) {
            None if quiet => self.quiet,
            None | Some("table") => self.table,
            Some("json") => "{{json .}}",
            Some(_) if quiet && format.is_none_or(|f| f == "table") => self.quiet,
            Some(format) => format,
        };
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
        let members = template.members().map(|members| members.into_iter().map(str::to_owned).collect());
        Ok(Layout { headers: is_table.then_some(self.headers), members, template })
    }
}

/// How a list's rows are written.
#[derive(Debug)]
pub(crate) struct Layout<'a> {
    /// A table's.
    headers: Option<&'a [(&'a str, &'a str)]>,
    /// The fields that are shown, if it is known that no others are.
    members: Option<Vec<String>>,
    template: Template,
}

impl Layout<'_> {
    /// A row of the fields that are asked for. As JSON they are shown by name, as Go shows a map.
    pub(crate) fn row(&self, fields: &[(&str, &dyn Fn() -> Json)]) -> Json {
        let asked_for =
            |name: &str| self.members.as_ref().is_none_or(|members| members.iter().any(|m| m == name));
        row(fields.iter().filter(|(name, _)| asked_for(name)).map(|(name, make)| (*name, make())).collect())
    }

    /// A row's line.
    pub(crate) fn line(&self, row: &Json) -> Result<String> {
        self.template.render(row).map_err(failed)
    }

    /// The lines below each other, or the first that failed.
    pub(crate) fn text(&self, lines: impl IntoIterator<Item = Result<String>>) -> Result<String> {
        let mut out = String::new();
        if let Some(headers) = self.headers {
            let headers =
                headers.iter().map(|(field, header)| ((*field).to_owned(), Json::from(*header))).collect();
            out.push_str(&self.template.render_header(&Json::Object(headers)).map_err(failed)?);
            out.push('\n');
        }
        for line in lines {
            out.push_str(&line?);
            out.push('\n');
        }
        Ok(if self.headers.is_some() { table::align(&out) } else { out })
    }
}

fn failed(error: TemplateError) -> Error {
    Error::invalid(format!("failed to execute template: {error}"))
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
