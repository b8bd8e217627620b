//! The daemon's log on stderr: one line per event, as `key=value` or JSON; with priorities for the journal.

use std::fmt::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `time="…" level=info msg="…" key=value`
    Text,
    /// One object per line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// The least level that is logged.
    pub level: Level,
    /// How.
    pub format: Format,
}

impl Options {
    /// Reads Docker's words for level and format; empty is the default. `debug` is one way to say `level`.
    ///
    /// # Errors
    /// A word that is none.
    pub fn new(debug: bool, level: &str, format: &str) -> Result<Self, String> {
        let level = match level.to_ascii_lowercase().as_str() {
            "trace" => Level::TRACE,
            _ if debug => Level::DEBUG,
            "debug" => Level::DEBUG,
            "" | "info" => Level::INFO,
            "warn" => Level::WARN,
            // What is worse than an error ends the daemon, which says so.
            "error" | "fatal" | "panic" => Level::ERROR,
            _ => return Err(format!("invalid logging level: {level}")),
        };
        let format = match format {
            "" | "text" => Format::Text,
            "json" => Format::Json,
            _ => return Err(format!("invalid log format: {format}")),
        };
        Ok(Self { level, format })
    }
}

static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Starts logging.
pub fn start(options: Options) {
    let (filter, handle) = reload::Layer::new(filter(options.level));
    let lines = Lines { format: options.format, journal: is_journal() };
    let layer =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false).event_format(lines);
    tracing_subscriber::registry().with(filter).with(layer).init();
    // It is started once.
    let _ = FILTER.set(handle);
}

/// Logs from another level on.
pub fn set_level(level: Level) {
    if let Some(handle) = FILTER.get() {
        // It fails only when logging has ended.
        let _ = handle.reload(filter(level));
    }
}

/// Ours at a level; libraries' only when something is wrong.
fn filter(level: Level) -> EnvFilter {
    EnvFilter::new(format!("{level},hyper=warn,h2=warn,rustls=warn"))
}

/// Whether stderr is the journal (systemd.exec(5), `$JOURNAL_STREAM`).
fn is_journal() -> bool {
    let named = std::env::var("JOURNAL_STREAM").ok();
    let named = named.and_then(|text| {
        let (device, inode) = text.split_once(':')?;
        Some((device.parse::<u64>().ok()?, inode.parse::<u64>().ok()?))
    });
    let stderr = std::fs::metadata("/proc/self/fd/2").ok().map(|m| (m.dev(), m.ino()));
    named.is_some() && named == stderr
}

struct Lines {
    format: Format,
    /// The journal notes the time itself, and reads a priority in front of the line (sd-daemon(3)).
    journal: bool,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        if self.journal {
            write!(writer, "<{}>", priority(level))?;
        }
        let time = (!self.journal).then(|| jiff::Timestamp::now().to_string());
        let line = match self.format {
            Format::Text => text(time.as_deref(), level, &fields),
            Format::Json => json(time.as_deref(), level, fields),
        };
        writeln!(writer, "{line}")
    }
}

fn text(time: Option<&str>, level: Level, fields: &Fields) -> String {
    let mut line = time.map_or_else(String::new, |time| format!("time=\"{time}\" "));
    let message = Value::from(fields.message.as_str()).to_string();
    // Writing to a string does not fail.
    let _ = write!(line, "level={} msg={message}", word(level));
    for (name, value) in &fields.others {
        let value = match value {
            Value::String(text) if !text.is_empty() && text.bytes().all(is_plain) => text.clone(),
            value => value.to_string(),
        };
        let _ = write!(line, " {name}={value}");
    }
    line
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._/@^+:".contains(&byte)
}

fn json(time: Option<&str>, level: Level, fields: Fields) -> String {
    let mut object = Map::new();
    object.insert("level".into(), word(level).into());
    object.insert("msg".into(), fields.message.into());
    object.extend(time.map(|time| ("time".to_owned(), time.into())));
    object.extend(fields.others);
    Value::Object(object).to_string()
}

/// As Docker's log has it.
fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// syslog(3)'s.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(String, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.others.push((name.to_owned(), value)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields() -> Fields {
        let others = [
            ("path", "/a b".into()),
            ("status", 200.into()),
            ("host", "unix:///x".into()),
            ("empty", "".into()),
        ];
        Fields {
            message: "it \"went\"\nwell".into(),
            others: others.map(|(k, v): (&str, Value)| (k.to_owned(), v)).into(),
        }
    }

    #[test]
    fn an_event_is_one_line() {
        assert_eq!(
            text(Some("T"), Level::WARN, &fields()),
            r#"time="T" level=warning msg="it \"went\"\nwell" path="/a b" status=200 host=unix:///x empty="""#
        );
        let json: Value = serde_json::from_str(&json(None, Level::INFO, fields())).unwrap();
        assert_eq!(json["level"], "info");
        assert_eq!(json["status"], 200);
        assert_eq!(json["time"], Value::Null);
    }

    #[test]
    fn levels_are_dockers() {
        for (debug, level, read) in [
            (false, "", Level::INFO),
            (true, "info", Level::DEBUG),
            (true, "trace", Level::TRACE),
            (false, "FATAL", Level::ERROR),
        ] {
            assert_eq!(Options::new(debug, level, "").unwrap().level, read);
        }
    }
}
