//! Method and path → route. Names, tags, digests and upload ids are checked here and nowhere else: what is inside a
//! [`Route`] is safe to be a file name.

use http::Method;
use spec::Reference;

use super::config::Action;
use super::digest::{Digest, InvalidDigest};
use super::refusal::{Code, Refusal};

/// A repository's name: lower-case components, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let reference: Reference = format!("localhost/{text}").parse().ok()?;
        let plain = reference.path == text && reference.tag.is_none() && reference.digest.is_none();
        plain.then(|| Self(text.to_owned()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a manifest is asked for by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Key {
    Tag(String),
    Digest(Digest),
}

impl Key {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.contains(':') {
            return text.parse().ok().map(Self::Digest);
        }
        let reference: Reference = format!("localhost/x:{text}").parse().ok()?;
        reference.tag.filter(|t| t == text).map(Self::Tag)
    }
}

impl Key {
    pub(crate) fn tag(&self) -> Option<&str> {
        match self {
            Self::Tag(tag) => Some(tag),
            Self::Digest(_) => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// An upload's id: 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UploadId(pub(super) String);

impl UploadId {
    pub(crate) fn random() -> Self {
        Self(spec::digest::hex(&sys::random::bytes::<16>()))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 32 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }
}

/// One operation of the distribution specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Base,
    Catalog,
    Tags(Name),
    Referrers(Name, Digest),
    BlobGet(Name, Digest),
    BlobDelete(Name, Digest),
    ManifestGet(Name, Key),
    ManifestPut(Name, Key),
    ManifestDelete(Name, Key),
    UploadBegin(Name),
    UploadStatus(Name, UploadId),
    UploadPatch(Name, UploadId),
    UploadPut(Name, UploadId),
    UploadDelete(Name, UploadId),
}

impl Route {
    /// For numbers.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Referrers(..) => "referrers",
            Self::BlobGet(..) | Self::BlobDelete(..) => "blob",
            Self::ManifestGet(..) | Self::ManifestPut(..) | Self::ManifestDelete(..) => "manifest",
            Self::UploadBegin(_)
            | Self::UploadStatus(..)
            | Self::UploadPatch(..)
            | Self::UploadPut(..)
            | Self::UploadDelete(..) => "upload",
        }
    }

    /// The repository it is about, and what one must be allowed there.
    pub(crate) fn needs(&self) -> Option<(&Name, &'static [Action])> {
        Some(match self {
            Self::Base | Self::Catalog => return None,
            Self::Tags(name)
            | Self::Referrers(name, _)
            | Self::BlobGet(name, _)
            | Self::ManifestGet(name, _) => (name, &[Action::Pull]),
            Self::BlobDelete(name, _) | Self::ManifestDelete(name, _) => (name, &[Action::Delete]),
            Self::ManifestPut(name, _)
            | Self::UploadBegin(name)
            | Self::UploadStatus(name, _)
            | Self::UploadPatch(name, _)
            | Self::UploadPut(name, _)
            | Self::UploadDelete(name, _) => (name, &[Action::Push]),
        })
    }

    /// What a token must be for, in the words of the token specification.
    pub(crate) fn scope(&self) -> Option<String> {
        let Some((name, actions)) = self.needs() else {
            return matches!(self, Self::Catalog).then(|| "registry:catalog:*".to_owned());
        };
        // Whoever pushes looks first at what is there.
        let actions = match actions {
            [Action::Push] => "pull,push",
            [Action::Delete] => "delete",
            _ => "pull",
        };
        Some(format!("repository:{}:{actions}", name.as_str()))
    }
}

/// The operation behind a method and a path. HEAD is GET, its body is dropped later.
pub(crate) fn route(method: &Method, path: &str) -> Result<Route, Refusal> {
    let path = decode(path);
    let nowhere = || Refusal::new(Code::NameUnknown, "no such page");
    let rest = path.strip_prefix("/v2").ok_or_else(nowhere)?;
    let segments: Vec<&str> = rest.strip_prefix('/').unwrap_or(rest).split('/').collect();
    let unsupported = || Refusal::new(Code::Unsupported, format!("{method} is not done here"));
    let read = matches!(*method, Method::GET | Method::HEAD);
    match segments.as_slice() {
        [""] => read.then_some(Route::Base).ok_or_else(unsupported),
        ["_catalog"] => read.then_some(Route::Catalog).ok_or_else(unsupported),
        [of @ .., "tags", "list"] => {
            let name = name(of)?;
            read.then_some(Route::Tags(name)).ok_or_else(unsupported)
        }
        [of @ .., "referrers", subject] => {
            let (name, digest) = (name(of)?, digest(subject)?);
            read.then_some(Route::Referrers(name, digest)).ok_or_else(unsupported)
        }
        [of @ .., "blobs", "uploads"] | [of @ .., "blobs", "uploads", ""] => {
            let name = name(of)?;
            (*method == Method::POST).then_some(Route::UploadBegin(name)).ok_or_else(unsupported)
        }
        [of @ .., "blobs", "uploads", id] => {
            let name = name(of)?;
            let unknown = || Refusal::new(Code::BlobUploadUnknown, "there is no such upload");
            let id = UploadId::parse(id).ok_or_else(unknown)?;
            match *method {
                Method::GET | Method::HEAD => Ok(Route::UploadStatus(name, id)),
                Method::PATCH => Ok(Route::UploadPatch(name, id)),
                Method::PUT => Ok(Route::UploadPut(name, id)),
                Method::DELETE => Ok(Route::UploadDelete(name, id)),
                _ => Err(unsupported()),
            }
        }
        [of @ .., "blobs", blob] => {
            let (name, digest) = (name(of)?, digest(blob)?);
            match *method {
                Method::GET | Method::HEAD => Ok(Route::BlobGet(name, digest)),
                Method::DELETE => Ok(Route::BlobDelete(name, digest)),
                _ => Err(unsupported()),
            }
        }
        [of @ .., "manifests", key] => {
            let name = name(of)?;
            // What cannot be is not there; what is sent under such a name is refused.
            let code = match (*method == Method::PUT, key.contains(':')) {
                (true, true) => Code::DigestInvalid,
                (true, false) => Code::ManifestInvalid,
                (false, _) => Code::ManifestUnknown,
            };
            let odd = || Refusal::new(code, format!("{key} is neither a tag nor a digest"));
            let key = Key::parse(key).ok_or_else(odd)?;
            match *method {
                Method::GET | Method::HEAD => Ok(Route::ManifestGet(name, key)),
                Method::PUT => Ok(Route::ManifestPut(name, key)),
                Method::DELETE => Ok(Route::ManifestDelete(name, key)),
                _ => Err(unsupported()),
            }
        }
        _ => Err(nowhere()),
    }
}

fn name(segments: &[&str]) -> Result<Name, Refusal> {
    let text = segments.join("/");
    Name::parse(&text)
        .ok_or_else(|| Refusal::new(Code::NameInvalid, format!("invalid repository name {text:?}")))
}

fn digest(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|e: InvalidDigest| Refusal::new(Code::DigestInvalid, e.to_string()))
}

/// A query parameter's value, decoded.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| decode(value))
}

/// Percent-encoded text, decoded.
pub(crate) fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = |i: usize| bytes.get(i).and_then(|c| char::from(*c).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (bytes[at], hex(at + 1), hex(at + 2)) {
            out.push(u8::try_from(high << 4 | low).expect("two hex digits are a byte"));
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn named(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn names_may_hold_the_words_of_the_paths() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        for (method, path, expected) in [
            (Method::GET, "/v2/".to_owned(), Route::Base),
            (Method::GET, "/v2".to_owned(), Route::Base),
            (Method::GET, format!("/v2/a/b/blobs/sha256:{HEX}"), Route::BlobGet(named("a/b"), digest)),
            (Method::HEAD, format!("/v2/a/blobs/sha256%3A{HEX}"), Route::BlobGet(named("a"), digest)),
            (
                Method::PUT,
                "/v2/a/blobs/b/manifests/x".into(),
                Route::ManifestPut(named("a/blobs/b"), Key::Tag("x".into())),
            ),
            (Method::POST, "/v2/a/blobs/uploads/".into(), Route::UploadBegin(named("a"))),
            (Method::GET, "/v2/tags/list/tags/list".into(), Route::Tags(named("tags/list"))),
            (
                Method::PATCH,
                format!("/v2/a/blobs/uploads/{}", &HEX[..32]),
                Route::UploadPatch(named("a"), UploadId(HEX[..32].into())),
            ),
        ] {
            assert_eq!(route(&method, &path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn nothing_leads_out_of_the_root() {
        for path in [
            "/v2/../manifests/x",
            "/v2/a/../b/manifests/x",
            "/v2/%2e%2e/manifests/x",
            "/v2/a%2f..%2fb/manifests/x",
            "/v2/_tags/manifests/x",
            "/v2/A/manifests/x",
            "/v2/a//b/manifests/x",
            "/v2/a:b/manifests/x",
            "/v2//manifests/x",
            "/v2/a/manifests/..",
            "/v2/a/manifests/.x",
            "/v2/a/manifests/sha256:..",
            "/v2/a/manifests/x%00y",
            "/v2/a/blobs/sha256:../../etc",
            "/v2/a/blobs/uploads/..",
            "/v2/a/blobs/uploads/../../../x",
            "/v1/a",
            "/",
        ] {
            for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
                assert!(route(&method, path).is_err(), "{method} {path}");
            }
        }
        assert!(Name::parse(&"a/".repeat(200)).is_none());
        assert!(Name::parse(&"a".repeat(300)).is_none());
    }
}
