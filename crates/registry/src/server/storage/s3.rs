//! Requests to an S3-compatible object store: signed by `rusty-s3`, sent by the client's transport, tried again when that may help.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use rusty_s3::actions::{CreateMultipartUpload, ListObjectsV2};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};

use super::bucket::BucketConfig;
use super::{Entry, Error, Result, Stat};
use crate::client::{Answer, Body, Transport, Url};

/// How long a signature is good.
const SIGNED: Duration = Duration::from_secs(300);
/// How long a client may take to follow a redirect to the object store.
const REDIRECT: Duration = Duration::from_secs(1200);
const TRIES: u32 = 5;
/// The largest answer that is not content.
const SMALL: usize = 8 << 20;
/// What one request may copy.
const COPY: u64 = 4 << 30;

/// A bucket, and how to sign for it.
pub(super) struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    transport: Arc<Transport>,
}

impl S3 {
    pub(super) fn new(config: &BucketConfig, transport: Arc<Transport>) -> std::result::Result<Self, String> {
        let Ok(endpoint) = config.endpoint.parse() else {
            return Err(format!("{} is not an address", config.endpoint));
        };
        let style = if config.virtual_host { UrlStyle::VirtualHost } else { UrlStyle::Path };
        let bucket = Bucket::new(endpoint, style, config.bucket.clone(), config.region.clone())
            .map_err(|e| e.to_string())?;
        let credentials = match &config.credentials_file {
            Some(path) => {
                let bytes = sys::file::read(path).map_err(|e| format!("{}: {}", path.display(), e.source))?;
                credentials(&String::from_utf8_lossy(&bytes))
                    .ok_or_else(|| format!("{}: aws_access_key_id or aws_secret_access_key is missing", path.display()))?
            }
            None => Credentials::from_env().ok_or(
                "credentials are missing: give s3.credentials-file, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            )?,
        };
        Ok(Self { bucket, credentials, transport })
    }

    async fn send(
        &self,
        step: &'static str,
        key: &str,
        method: Method,
        url: impl Fn() -> String,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Answer> {
        let mut pause = Duration::from_millis(100);
        let mut why = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(pause).await;
                pause *= 3;
            }
            let url = Url::parse(&url()).map_err(Error::failed(step, key))?;
            let body = Body::Full(body.clone());
            match self.transport.once(method.clone(), &url, headers, body).await {
                Ok(answer) if answer.status.is_success() || answer.status == StatusCode::NOT_FOUND => {
                    return Ok(answer);
                }
                Ok(answer) => {
                    let status = answer.status;
                    let again = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
                    let body = answer.bytes(SMALL).await.unwrap_or_default();
                    let text = String::from_utf8_lossy(&body);
                    why = format!("{status}: {}", element(&text, "Message").unwrap_or_default());
                    if !again {
                        break;
                    }
                }
                Err(error) => why = error.at_host(),
            }
        }
        Err(Error::failed(step, key)(why))
    }

    /// A request whose answer is small; `None` when there is nothing of that name.
    async fn text(
        &self,
        step: &'static str,
        key: &str,
        method: Method,
        url: impl Fn() -> String,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<Option<(HeaderMap, String)>> {
        let answer = self.send(step, key, method, url, headers, body).await?;
        let (status, headers) = (answer.status, answer.headers.clone());
        let body = answer.bytes(SMALL).await.map_err(Error::sent(step, key))?;
        Ok((status != StatusCode::NOT_FOUND).then(|| (headers, String::from_utf8_lossy(&body).into_owned())))
    }

    pub(super) async fn get(&self, key: &str, range: Option<(u64, u64)>) -> Result<Option<Answer>> {
        let mut headers = HeaderMap::new();
        if let Some((first, length)) = range {
            let range = format!("bytes={first}-{}", first + length.max(1) - 1);
            headers.insert(http::header::RANGE, HeaderValue::try_from(range).expect("numbers are printable"));
        }
        let url = || self.bucket.get_object(Some(&self.credentials), key).sign(SIGNED).to_string();
        let answer = self.send("read", key, Method::GET, url, &headers, Bytes::new()).await?;
        if answer.status == StatusCode::NOT_FOUND {
            // The connection is used again when the answer has been read.
            let _ = answer.bytes(SMALL).await;
            return Ok(None);
        }
        Ok(Some(answer))
    }

    /// Where a client may get an object without this server.
    pub(super) fn presigned(&self, key: &str) -> String {
        self.bucket.get_object(Some(&self.credentials), key).sign(REDIRECT).to_string()
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<()> {
        let url = || self.bucket.put_object(Some(&self.credentials), key).sign(SIGNED).to_string();
        self.text("write", key, Method::PUT, url, &HeaderMap::new(), bytes)
            .await?
            .map(drop)
            .ok_or_else(gone(key))
    }

    pub(super) async fn remove(&self, key: &str) -> Result<()> {
        let url = || self.bucket.delete_object(Some(&self.credentials), key).sign(SIGNED).to_string();
        self.text("remove", key, Method::DELETE, url, &HeaderMap::new(), Bytes::new()).await.map(drop)
    }

    pub(super) async fn stat(&self, key: &str) -> Result<Option<Stat>> {
        let url = || self.bucket.head_object(Some(&self.credentials), key).sign(SIGNED).to_string();
        let found = self.text("stat", key, Method::HEAD, url, &HeaderMap::new(), Bytes::new()).await?;
        Ok(found.map(|(headers, _)| {
            let text =
                |name| headers.get(name).and_then(|v: &HeaderValue| v.to_str().ok()).unwrap_or_default();
            let modified = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text("last-modified"));
            let modified = modified.and_then(SystemTime::try_from).unwrap_or_else(|_| SystemTime::now());
            Stat { size: text("content-length").parse().unwrap_or(0), modified }
        }))
    }

    /// Copies within the bucket; large objects in pieces. An object copied onto itself is as good as new.
    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<()> {
        let size = self.stat(from).await?.ok_or_else(gone(from))?.size;
        let source = format!("/{}/{}", self.bucket.name(), from);
        if size > COPY {
            return self.copy_pieces(&source, size, to).await;
        }
        let signed = [("x-amz-copy-source", source), ("x-amz-metadata-directive", "REPLACE".into())];
        let url = || {
            let mut action = self.bucket.put_object(Some(&self.credentials), to);
            for (name, value) in &signed {
                action.headers_mut().insert(*name, value.as_str());
            }
            action.sign(SIGNED).to_string()
        };
        let done = self.text("copy to", to, Method::PUT, url, &headers(&signed), Bytes::new()).await?;
        let (_, text) = done.ok_or_else(gone(from))?;
        refused(to, &text)
    }

    async fn copy_pieces(&self, source: &str, size: u64, to: &str) -> Result<()> {
        let id = self.begin(to).await?;
        let mut etags = Vec::new();
        for first in (0..size).step_by(usize::try_from(COPY).expect("64 bits")) {
            let range = format!("bytes={first}-{}", (first + COPY).min(size) - 1);
            let signed = [("x-amz-copy-source", source.to_owned()), ("x-amz-copy-source-range", range)];
            let number =
                u16::try_from(etags.len() + 1).map_err(|e| Error::failed("copy to", to)(e.to_string()))?;
            let url = || {
                let mut action = self.bucket.upload_part(Some(&self.credentials), to, number, &id);
                for (name, value) in &signed {
                    action.headers_mut().insert(*name, value.as_str());
                }
                action.sign(SIGNED).to_string()
            };
            let done = self.text("copy to", to, Method::PUT, url, &headers(&signed), Bytes::new()).await?;
            let (_, text) = done.ok_or_else(gone(source))?;
            refused(to, &text)?;
            etags.push(element(&text, "ETag").unwrap_or_default().replace("&quot;", "\""));
        }
        self.complete(to, &id, &etags).await
    }

    /// The names directly below a key, which ends in `/`.
    pub(super) async fn list(&self, key: &str) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let url = || {
                let mut action: ListObjectsV2<'_> = self.bucket.list_objects_v2(Some(&self.credentials));
                action.with_prefix(key);
                action.with_delimiter("/");
                if let Some(token) = &after {
                    action.with_continuation_token(token.as_str());
                }
                action.sign(SIGNED).to_string()
            };
            let answer = self.text("list", key, Method::GET, url, &HeaderMap::new(), Bytes::new()).await?;
            let (_, text) = answer.ok_or_else(gone(key))?;
            let page = ListObjectsV2::parse_response(&text)
                .map_err(|e| Error::failed("list", key)(e.to_string()))?;
            let name = |full: &str| full.strip_prefix(key).map(|n| n.trim_end_matches('/').to_owned());
            for object in page.contents {
                let modified = object.last_modified.and_then(|t| t.parse::<jiff::Timestamp>().ok());
                let modified =
                    modified.and_then(|t| SystemTime::try_from(t).ok()).unwrap_or_else(SystemTime::now);
                let stat = Some(Stat { size: object.size.unwrap_or(0), modified });
                entries.extend(name(&object.key).filter(|n| !n.is_empty()).map(|name| Entry { name, stat }));
            }
            let inner = page.common_prefixes.iter().filter_map(|p| name(&p.prefix));
            entries.extend(inner.map(|name| Entry { name, stat: None }));
            after = page.next_continuation_token;
            if after.is_none() {
                break;
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    // ---- objects in parts

    pub(super) async fn begin(&self, key: &str) -> Result<String> {
        let url =
            || self.bucket.create_multipart_upload(Some(&self.credentials), key).sign(SIGNED).to_string();
        let answer = self.text("begin", key, Method::POST, url, &HeaderMap::new(), Bytes::new()).await?;
        let (_, text) = answer.ok_or_else(gone(key))?;
        let begun = CreateMultipartUpload::parse_response(&text);
        Ok(begun.map_err(|e| Error::failed("begin", key)(e.to_string()))?.upload_id().to_owned())
    }

    /// Sends one part; its ETag.
    pub(super) async fn part(&self, key: &str, id: &str, number: u16, bytes: Bytes) -> Result<String> {
        let url =
            || self.bucket.upload_part(Some(&self.credentials), key, number, id).sign(SIGNED).to_string();
        let answer = self.text("write a part of", key, Method::PUT, url, &HeaderMap::new(), bytes).await?;
        let (headers, _) = answer.ok_or_else(gone(key))?;
        let etag = headers.get(http::header::ETAG).and_then(|v| v.to_str().ok()).map(str::to_owned);
        etag.ok_or_else(|| Error::failed("write a part of", key)("the answer has no ETag".into()))
    }

    pub(super) async fn complete(&self, key: &str, id: &str, etags: &[String]) -> Result<()> {
        let action = || {
            let etags = etags.iter().map(String::as_str);
            self.bucket.complete_multipart_upload(Some(&self.credentials), key, id, etags)
        };
        let url = || action().sign(SIGNED).to_string();
        let body = Bytes::from(action().body());
        let answer = self.text("complete", key, Method::POST, url, &HeaderMap::new(), body).await?;
        let (_, text) = answer.ok_or_else(gone(key))?;
        refused(key, &text)
    }

    pub(super) async fn abort(&self, key: &str, id: &str) -> Result<()> {
        let url =
            || self.bucket.abort_multipart_upload(Some(&self.credentials), key, id).sign(SIGNED).to_string();
        self.text("abort", key, Method::DELETE, url, &HeaderMap::new(), Bytes::new()).await.map(drop)
    }
}

fn headers(signed: &[(&'static str, String)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, String)| {
        let value = HeaderValue::try_from(value).expect("keys were checked");
        (HeaderName::from_static(name), value)
    };
    signed.iter().map(pair).collect()
}

fn gone(key: &str) -> impl FnOnce() -> Error {
    let key = key.to_owned();
    move || Error::failed("find", &key)("it is not there".into())
}

/// Some failures come after the answer has begun as a success.
fn refused(key: &str, text: &str) -> Result<()> {
    if text.contains("<Error>") {
        return Err(Error::failed("write", key)(element(text, "Message").unwrap_or_default()));
    }
    Ok(())
}

/// The text of the first element of that name: for messages and tags, which have no inner elements.
fn element(text: &str, name: &str) -> Option<String> {
    let after = text.split_once(&format!("<{name}>"))?.1;
    Some(after.split_once("</")?.0.to_owned())
}

/// AWS' shared credentials file: the first of each key counts.
fn credentials(text: &str) -> Option<Credentials> {
    let value = |wanted: &str| {
        text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == wanted).then(|| value.trim().to_owned())
        })
    };
    let (key, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
    Some(match value("aws_session_token") {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_read() {
        let text = "[default]\naws_access_key_id = AK\naws_secret_access_key=s3=cr=t\n";
        let read = credentials(text).unwrap();
        assert_eq!((read.key(), read.secret()), ("AK", "s3=cr=t"));
        assert!(credentials("[default]\naws_access_key_id = AK\n").is_none());
        assert_eq!(element("<Error><Message>no</Message></Error>", "Message").as_deref(), Some("no"));
        assert!(refused("x", "<Error><Message>no</Message></Error>").is_err());
    }
}
