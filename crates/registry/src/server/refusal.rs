//! Why a request is refused: the distribution specification's error codes and their statuses.

use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use spec::ErrorKind;

use super::body::{self, Body};

/// The specification's codes (distribution-spec 1.1, "Error Codes").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    BlobUnknown,
    BlobUploadInvalid,
    BlobUploadUnknown,
    DigestInvalid,
    ManifestBlobUnknown,
    ManifestInvalid,
    ManifestUnknown,
    NameInvalid,
    NameUnknown,
    RangeInvalid,
    SizeInvalid,
    Unauthorized,
    Unsupported,
    Unknown,
}

impl Code {
    fn text(self) -> &'static str {
        match self {
            Self::BlobUnknown => "BLOB_UNKNOWN",
            Self::BlobUploadInvalid | Self::RangeInvalid => "BLOB_UPLOAD_INVALID",
            Self::BlobUploadUnknown => "BLOB_UPLOAD_UNKNOWN",
            Self::DigestInvalid => "DIGEST_INVALID",
            Self::ManifestBlobUnknown => "MANIFEST_BLOB_UNKNOWN",
            Self::ManifestInvalid => "MANIFEST_INVALID",
            Self::ManifestUnknown => "MANIFEST_UNKNOWN",
            Self::NameInvalid => "NAME_INVALID",
            Self::NameUnknown => "NAME_UNKNOWN",
            Self::SizeInvalid => "SIZE_INVALID",
            Self::Unauthorized => "UNAUTHORIZED",
            Self::Unsupported => "UNSUPPORTED",
            Self::Unknown => "UNKNOWN",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::BlobUnknown | Self::BlobUploadUnknown | Self::ManifestUnknown | Self::NameUnknown => {
                StatusCode::NOT_FOUND
            }
            Self::BlobUploadInvalid
            | Self::DigestInvalid
            | Self::ManifestBlobUnknown
            | Self::ManifestInvalid
            | Self::NameInvalid => StatusCode::BAD_REQUEST,
            Self::RangeInvalid => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::SizeInvalid => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Unsupported => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

/// A refusal on its way to a client.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: Code,
    message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        if self.code == Code::Unknown {
            tracing::error!(error = self.message, "a request failed");
        }
        let errors =
            json!({ "errors": [{ "code": self.code.text(), "message": self.message, "detail": null }] });
        let mut response = body::json(self.code.status(), &errors);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }

    pub(crate) fn with_header(self, name: HeaderName, value: &'static str) -> Response<Body> {
        let mut response = self.into_response();
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }
}

/// Content that is not what it should be is the client's fault, the rest is ours.
impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let code = match (&error, error.kind()) {
            (store::Error::DigestMismatch { .. }, _) => Code::DigestInvalid,
            (_, ErrorKind::NotFound) => Code::BlobUnknown,
            _ => Code::Unknown,
        };
        Self::new(code, text_of(&error))
    }
}

impl From<sys::Error> for Refusal {
    fn from(error: sys::Error) -> Self {
        Self::new(Code::Unknown, text_of(&error))
    }
}

fn text_of(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
