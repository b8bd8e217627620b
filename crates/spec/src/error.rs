//! What kind of failure an error is. Every error of every room has one, and each frontier (HTTP status,
//! registry error code, exit code) has one exhaustive table from it.

/// The class of a failure, as a client can act on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request cannot be carried out as it was put.
    InvalidParameter,
    /// Credentials are missing or wrong.
    Unauthorized,
    /// Not allowed, whoever asks.
    Forbidden,
    /// The named object does not exist.
    NotFound,
    /// The object is in a state, or a name is taken, that rules the request out.
    Conflict,
    /// Nothing to do: the object is already as asked for.
    NotModified,
    /// This engine does not do that.
    NotImplemented,
    /// Not now; trying again may work.
    Unavailable,
    /// The client went away.
    Cancelled,
    /// It took too long.
    Deadline,
    /// The engine's or the host's fault.
    Internal,
}

impl ErrorKind {
    /// The Engine API's status code (moby `daemon/server/httpstatus`).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::InvalidParameter => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotModified => 304,
            Self::NotImplemented => 501,
            Self::Unavailable => 503,
            Self::Cancelled | Self::Deadline | Self::Internal => 500,
        }
    }

    /// The kind behind a status code of the Engine API.
    pub const fn from_http_status(status: u16) -> Self {
        match status {
            304 => Self::NotModified,
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 => Self::NotFound,
            409 => Self::Conflict,
            501 => Self::NotImplemented,
            503 => Self::Unavailable,
            400..=499 => Self::InvalidParameter,
            _ => Self::Internal,
        }
    }
}
