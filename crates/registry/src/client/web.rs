//! Something on the web that is no registry's: what ADD and build contexts name.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Client;
use super::message::{Answer, Body};
use super::transport::{Security, Url};
use crate::Error;

/// An answer, read piece by piece.
pub struct Download(Answer);

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Download").field(&self.status()).finish()
    }
}

impl Download {
    /// The status code.
    pub fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// A header's text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.0.header(name)
    }

    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// The connection broke, or nothing came for too long.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        self.0.chunk().await
    }

    /// The whole of it.
    ///
    /// # Errors
    /// As [`Download::chunk`], and more than `limit` bytes.
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        self.0.bytes(limit).await
    }
}

pub(super) async fn download(
    client: &Client,
    address: &str,
    method: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<Download, Error> {
    // Seen from an address without TLS, as the user may well have meant one.
    let nowhere = Url { security: Security::Plain, authority: address.to_owned(), path: "/".into() };
    let url = client.transport.resolve(&nowhere, address)?;
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let invalid =
            |_| Error::Protocol { host: url.authority.clone(), detail: format!("invalid header {name}") };
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(()))?;
        map.insert(name, HeaderValue::from_str(value).map_err(|_| invalid(()))?);
    }
    let method = Method::from_bytes(method.as_bytes()).expect("a method of this room's own");
    Ok(Download(client.transport.send(method, &url, map, Body::Full(body.into())).await?))
}
