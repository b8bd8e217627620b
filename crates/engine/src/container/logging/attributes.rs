//! What every entry of a log carries beside its text: labels and variables of the container, and a tag.

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::options::Options;
use crate::Error;
use crate::container::record::Record;

/// The name under which tags know the daemon.
const DAEMON: &str = "docker";

/// Which labels and variables, and the tag's template.
#[derive(Debug)]
pub(super) struct Attributes {
    labels: Vec<String>,
    labels_matching: Option<Regex>,
    variables: Vec<String>,
    variables_matching: Option<Regex>,
    tag: Option<Template>,
}

impl Attributes {
    pub(super) fn read(options: &mut Options<'_>) -> Result<Self, Error> {
        let list = |text: Option<&str>| -> Vec<String> {
            text.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default()
        };
        let pattern = |text: Option<&str>| {
            text.map(|text| {
                Regex::new(text).map_err(|e| Error::Invalid(format!("error parsing regexp {text:?}: {e}")))
            })
            .transpose()
        };
        Ok(Self {
            labels: list(options.take("labels")),
            labels_matching: pattern(options.take("labels-regex"))?,
            variables: list(options.take("env")),
            variables_matching: pattern(options.take("env-regex"))?,
            tag: options.take("tag").map(Template::read).transpose()?,
        })
    }

    /// Of this container.
    pub(super) fn of(&self, record: &Record) -> Result<BTreeMap<String, String>, Error> {
        let mut attributes = BTreeMap::new();
        for (key, value) in &record.config.labels {
            if chosen(key, &self.labels, self.labels_matching.as_ref()) {
                attributes.insert(key.clone(), value.clone());
            }
        }
        for (key, value) in record.config.env.iter().filter_map(|variable| variable.split_once('=')) {
            if chosen(key, &self.variables, self.variables_matching.as_ref()) {
                attributes.insert(key.to_owned(), value.to_owned());
            }
        }
        if let Some(template) = &self.tag {
            attributes.insert("tag".into(), template.fill(record));
        }
        Ok(attributes)
    }

    /// The tag of the drivers that always have one: the container's short id unless the user says otherwise.
    pub(super) fn tag(&self, record: &Record) -> String {
        self.tag.as_ref().map_or_else(|| record.id.short().to_owned(), |template| template.fill(record))
    }
}

fn chosen(key: &str, names: &[String], pattern: Option<&Regex>) -> bool {
    names.iter().any(|name| name == key) || pattern.is_some_and(|pattern| pattern.is_match(key))
}

/// A tag with names to fill in: `{{.Name}}/{{.ID}}`. Of Go's templates that is all that tags need.
#[derive(Debug, PartialEq, Eq)]
struct Template(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    DaemonName,
    Hostname,
    Command,
    /// `{{index .ContainerLabels "key"}}`.
    Label(String),
}

impl Template {
    fn read(text: &str) -> Result<Self, Error> {
        let bad = |why: &str| Error::Invalid(format!("invalid log option tag {text:?}: {why}"));
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").ok_or_else(|| bad("an action has no end"))?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(Part::Field(field(name.trim()).ok_or_else(|| {
                bad(&format!(
                    "{{{{{name}}}}} is not known; known are .ID, .FullID, .Name, .ImageID, .ImageFullID, .ImageName, .DaemonName, .Hostname, .Command and index .ContainerLabels \"key\""
                ))
            })?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    fn fill(&self, record: &Record) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => field.of(record),
        };
        self.0.iter().map(part).collect()
    }
}

fn field(name: &str) -> Option<Field> {
    Some(match name {
        ".ID" => Field::Id,
        ".FullID" | ".ContainerID" => Field::FullId,
        ".Name" => Field::Name,
        ".ImageID" => Field::ImageId,
        ".ImageFullID" | ".ContainerImageID" => Field::ImageFullId,
        ".ImageName" | ".ContainerImageName" => Field::ImageName,
        ".DaemonName" => Field::DaemonName,
        ".Hostname" => Field::Hostname,
        ".Command" => Field::Command,
        _ => {
            let key = name.strip_prefix("index .ContainerLabels")?.trim();
            Field::Label(key.strip_prefix('"')?.strip_suffix('"')?.to_owned())
        }
    })
}

impl Field {
    fn of(&self, record: &Record) -> String {
        let image = record.image.to_string();
        match self {
            Self::Id => record.id.short().to_owned(),
            Self::FullId => record.id.to_string(),
            Self::Name => record.name.clone(),
            Self::ImageId => image.trim_start_matches("sha256:").chars().take(12).collect(),
            Self::ImageFullId => image,
            Self::ImageName => record.config.image.clone(),
            Self::DaemonName => DAEMON.into(),
            Self::Hostname => crate::system::hostname(),
            Self::Command => record.command().join(" "),
            Self::Label(key) => record.config.labels.get(key).cloned().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read() {
        let text = |text: &str| Part::Text(text.into());
        let parts = |text: &str| Template::read(text).unwrap().0;
        assert_eq!(parts("plain"), [text("plain")]);
        assert_eq!(
            parts("{{.ImageName}}/{{ .Name }}-x"),
            [Part::Field(Field::ImageName), text("/"), Part::Field(Field::Name), text("-x")]
        );
        assert_eq!(parts("{{index .ContainerLabels \"a.b\"}}"), [Part::Field(Field::Label("a.b".into()))]);
        for bad in ["{{.Nope}}", "{{", "{{.ID", "{{index .ContainerLabels a}}"] {
            assert!(Template::read(bad).is_err(), "{bad}");
        }
    }
}
