//! Progress streams: pulls, pushes, loads, imports and builds.

use std::collections::HashMap;

use client::JsonLines;
use spec::api::{Progress, ProgressDetail};

use crate::error::{Error, Result};
use crate::json::Json;
use crate::{print, terminal, units};

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    Stdout,
    Stderr,
    Nowhere,
}

/// Shows a stream to its end; `aux` receives what is meant for programs. Returns the last piece of plain output:
/// a quiet build has nothing but its result there.
///
/// # Errors
/// The stream's last line says that the work failed.
pub(crate) async fn show(
    mut lines: JsonLines<Progress>,
    output: Output,
    mut aux: impl FnMut(&serde_json::Value),
) -> Result<String> {
    let mut last = String::new();
    let is_terminal = match output {
        Output::Stdout => terminal::stdout_is_terminal(),
        Output::Stderr => rustix::termios::isatty(rustix::stdio::stderr()),
        Output::Nowhere => false,
    };
    let mut screen = Screen::new(is_terminal, terminal::size().map_or(200, |[_, width]| width));
    while let Some(message) = lines.next().await? {
        if let Some(detail) = &message.error_detail {
            return Err(Error::Exit {
                code: u8::try_from(detail.code).ok().filter(|code| *code != 0).unwrap_or(1),
                message: detail.message.clone(),
            });
        }
        if let Some(message) = message.error {
            return Err(Error::Exit { code: 1, message });
        }
        if let Some(value) = &message.aux {
            aux(value);
            if message.status.is_none() && message.stream.is_none() {
                continue;
            }
        }
        let text = screen.line(&message);
        if let Some(stream) = message.stream.filter(|stream| !stream.trim().is_empty()) {
            last = stream;
        }
        match output {
            Output::Stdout => print::out(text),
            Output::Stderr => print::err(text),
            Output::Nowhere => {}
        }
    }
    Ok(last)
}

/// Which line of the terminal belongs to which layer.
struct Screen {
    is_terminal: bool,
    width: u16,
    lines: HashMap<String, usize>,
}

impl Screen {
    fn new(is_terminal: bool, width: u16) -> Self {
        Self { is_terminal, width, lines: HashMap::new() }
    }

    /// What to write for one message.
    fn line(&mut self, message: &Progress) -> String {
        let progress = message.progress_detail.as_ref();
        let id = message.id.as_deref().unwrap_or_default();
        if id.is_empty() || progress.is_none() {
            // What follows begins below this line.
            self.lines.clear();
        }
        let status = message.status.as_deref().unwrap_or_default();
        let prefix = if id.is_empty() { String::new() } else { format!("{id}: ") };
        if let Some(stream) = &message.stream {
            return stream.clone();
        }
        let bar = progress.map(|detail| bar(detail, self.width)).unwrap_or_default();
        if !self.is_terminal {
            // A log shows what changes, not how it goes on.
            return if bar.is_empty() { format!("{prefix}{status}\n") } else { String::new() };
        }
        match progress {
            Some(_) if !id.is_empty() => {
                let count = self.lines.len();
                let line = *self.lines.entry(id.to_owned()).or_insert(count);
                let new = if line == count { "\n" } else { "" };
                let up = self.lines.len() - line;
                format!("{new}\x1b[{up}A\x1b[2K\r{prefix}{status} {bar}\r\x1b[{up}B")
            }
            Some(_) => format!("\x1b[2K\r{prefix}{status} {bar}\r"),
            None => format!("{prefix}{status}\n"),
        }
    }
}

/// `[=====>     ]  1.2MB/5MB`
fn bar(detail: &ProgressDetail, width: u16) -> String {
    if detail.current <= 0 && detail.total <= 0 {
        return String::new();
    }
    let current = units::human_size(detail.current);
    if detail.total <= 0 {
        return format!("{current:>8}");
    }
    let done = usize::try_from(detail.current * 50 / detail.total).unwrap_or(0).min(50);
    let line = if width > 110 {
        format!("[{}>{}] ", "=".repeat(done), " ".repeat(50 - done))
    } else {
        String::new()
    };
    let total = units::human_size(detail.total);
    if detail.current > detail.total {
        format!("{line}{current:>8}")
    } else {
        format!("{line}{current:>8}/{total}")
    }
}

/// A member of an auxiliary object.
pub(crate) fn aux_text(value: &serde_json::Value, key: &str) -> Option<String> {
    match Json::of(value).text(&[key]) {
        "" => None,
        text => Some(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_shows_steps_and_a_terminal_shows_bars() {
        let step = Progress::of("abc", "Downloading").bytes(500, 1000);
        let mut log = Screen::new(false, 80);
        assert_eq!(log.line(&step), "");
        let done =
            Progress { progress_detail: Some(ProgressDetail::default()), ..Progress::of("abc", "Done") };
        assert_eq!(log.line(&done), "abc: Done\n");
        assert_eq!(log.line(&Progress::status("Status: x")), "Status: x\n");
        let mut screen = Screen::new(true, 120);
        let bar = format!("[{}>{}]     500B/1kB", "=".repeat(25), " ".repeat(25));
        assert_eq!(screen.line(&step), format!("\n\x1b[1A\x1b[2K\rabc: Downloading {bar}\r\x1b[1B"));
        assert_eq!(screen.line(&done), "\x1b[1A\x1b[2K\rabc: Done \r\x1b[1B");
    }
}
