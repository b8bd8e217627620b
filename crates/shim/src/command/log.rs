//! Where errors go: the file that the caller names, in the form that it reads, and standard error.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// The log.
pub(super) struct Log {
    file: Option<File>,
    json: bool,
}

impl Log {
    /// Standard error only.
    pub(super) fn none() -> Self {
        Self { file: None, json: false }
    }

    /// A file that is appended to.
    pub(super) fn open(path: Option<&str>, format: Option<&str>) -> Result<Self, String> {
        let json = match format {
            None | Some("text" | "") => false,
            Some("json") => true,
            Some(other) => return Err(format!("invalid log-format: {other}")),
        };
        let open = |path: &str| sys::file::append(Path::new(path), 0o644).map_err(super::words);
        Ok(Self { file: path.filter(|path| !path.is_empty()).map(open).transpose()?, json })
    }

    /// Writes one line.
    pub(super) fn write(&self, level: &str, message: &str) {
        let now = shim::log::time::format(shim::log::time::now());
        // Whole seconds are what readers of this form expect.
        let time = now.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z";
        let line = if self.json {
            let line = serde_json::json!({ "level": level, "msg": message, "time": time });
            format!("{line}\n")
        } else {
            format!("time=\"{time}\" level={level} msg={message:?}\n")
        };
        // Without a place to say it there is nothing to be said.
        let _ = match &self.file {
            Some(file) => (&*file).write_all(line.as_bytes()),
            None => std::io::stderr().write_all(line.as_bytes()),
        };
    }

    /// The end of a command that has failed.
    pub(super) fn fatal(&self, message: &str) -> ExitCode {
        self.write("error", message);
        if self.file.is_some() {
            let _ = writeln!(std::io::stderr(), "{message}");
        }
        ExitCode::FAILURE
    }
}
