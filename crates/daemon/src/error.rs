//! How a failure leaves the daemon: `{"message": …}` with the status of its kind.

use std::error::Error as _;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use spec::ErrorKind;
use spec::api::ErrorResponse;

pub use engine::error::chain;

use crate::body::Body;

/// A failure on its way to a client.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    /// Of a program that failed as part of the work.
    exit_code: i32,
}

/// What handlers return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failure in the daemon's own words.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: 0 }
    }

    /// The request cannot be carried out as it was put.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidParameter, message)
    }

    /// This engine does not do that.
    pub fn not_implemented(what: &str) -> Self {
        Self::new(ErrorKind::NotImplemented, format!("not supported by this engine: {what}"))
    }

    /// The class of this failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The exit code of the program whose failure this is; 0 when it is no program's.
    pub fn exit_code(&self) -> i32 {
        self.exit_code
    }

    /// What the client reads.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The answer that says so.
    pub fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.kind.http_status()).expect("the table holds valid codes");
        if status == StatusCode::NOT_MODIFIED {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            return response;
        }
        message(status, self.message)
    }
}

/// An answer with a status and a message.
pub fn message(status: StatusCode, message: String) -> Response<Body> {
    let json = serde_json::to_vec(&ErrorResponse { message }).expect("a string is JSON");
    let mut response = Response::new(Body::full(Bytes::from(json)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

impl From<engine::Error> for Error {
    fn from(error: engine::Error) -> Self {
        Self::new(error.kind(), chain(&error))
    }
}

impl From<builder::Error> for Error {
    fn from(error: builder::Error) -> Self {
        let exit_code = if let builder::Error::Run { code, .. } = &error { *code } else { 0 };
        Self { exit_code, ..Self::new(error.kind(), chain(&error)) }
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::new(error.kind(), chain(&error))
    }
}

impl From<::registry::Error> for Error {
    fn from(error: ::registry::Error) -> Self {
        Self::new(error.kind(), chain(&error))
    }
}

impl From<spec::filters::InvalidFilter> for Error {
    fn from(error: spec::filters::InvalidFilter) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<sys::Error> for Error {
    fn from(error: sys::Error) -> Self {
        let mut message = error.to_string();
        if let Some(cause) = error.source() {
            message = format!("{message}: {cause}");
        }
        Self::new(ErrorKind::Internal, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_has_the_status_of_its_kind_and_304_no_body() {
        for (kind, status) in [
            (ErrorKind::InvalidParameter, 400),
            (ErrorKind::NotFound, 404),
            (ErrorKind::Conflict, 409),
            (ErrorKind::NotModified, 304),
            (ErrorKind::NotImplemented, 501),
            (ErrorKind::Internal, 500),
        ] {
            let response = Error::new(kind, "x").into_response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().contains_key("content-type"), status != 304);
        }
    }
}
