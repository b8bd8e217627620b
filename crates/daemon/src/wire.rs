//! What clients were told, written down for those who look for a mistake in it: a line per piece of each JSON answer.
//!
//! Off unless the environment variable `CORTEND_WIRE_LOG` names a file. Answers hold secrets (environments of
//! containers), so the file is root's alone. The end-to-end tests compare what is in it with the API's schema.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use http::{Method, Response, Uri, header};
use serde::Serialize;

use crate::body::Body;

/// The variable that names the file.
const VARIABLE: &str = "CORTEND_WIRE_LOG";

/// The file.
#[derive(Debug)]
pub struct Wire(Mutex<File>);

/// One answer's head, and where its pieces go.
#[derive(Debug)]
pub struct Record {
    wire: Arc<Wire>,
    method: Method,
    path: String,
    status: u16,
}

/// One line of the file.
#[derive(Serialize)]
struct Line<'a> {
    method: &'a str,
    path: &'a str,
    status: u16,
    body: &'a str,
}

impl Wire {
    /// The file that the environment names.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn from_environment() -> Result<Option<Arc<Self>>, sys::Error> {
        let Some(path) = std::env::var_os(VARIABLE) else { return Ok(None) };
        Ok(Some(Arc::new(Self(Mutex::new(sys::file::append(Path::new(&path), 0o600)?)))))
    }

    /// Makes the answer write itself down as it is sent, if it is JSON.
    pub fn record(self: &Arc<Self>, method: Method, uri: &Uri, response: Response<Body>) -> Response<Body> {
        let json = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_some_and(
            |content_type| content_type.starts_with("application/") && content_type.contains("json"),
        );
        if !json {
            return response;
        }
        let record = Record {
            wire: Arc::clone(self),
            method,
            path: uri.path().to_owned(),
            status: response.status().as_u16(),
        };
        response.map(|body| body.recorded(record))
    }
}

impl Record {
    /// Writes a piece down.
    pub fn note(&self, piece: &[u8]) {
        let line = Line {
            method: self.method.as_str(),
            path: &self.path,
            status: self.status,
            body: &String::from_utf8_lossy(piece),
        };
        let mut line = serde_json::to_vec(&line).expect("strings and a number are JSON");
        line.push(b'\n');
        let mut file = self.wire.0.lock().expect("no holder of this lock can panic");
        if let Err(error) = file.write_all(&line) {
            tracing::warn!(%error, "the wire log is not complete");
        }
    }
}
