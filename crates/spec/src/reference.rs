//! Image references: `[domain/]path[:tag][@digest]` (the grammar of distribution/reference).

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;

/// The registry of names without a domain.
pub const DEFAULT_DOMAIN: &str = "docker.io";
/// The tag of names without one.
pub const DEFAULT_TAG: &str = "latest";

/// A normalised image reference. `Display` gives the full form, [`Reference::familiar`] the short one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Host and optional port of the registry.
    pub domain: String,
    /// Repository on the registry, `library/` included.
    pub path: String,
    /// Tag, if one was given.
    pub tag: Option<String>,
    /// Digest, if one was given; it wins over the tag.
    pub digest: Option<Digest>,
}

/// Text that is not a reference, and why, in Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// The grammar does not match.
    #[error("invalid reference format")]
    Format,
    /// Repository names are lower case.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// Over 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// 64 hex digits would be taken for an image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
}

impl Reference {
    /// The reference with `latest` where it had neither tag nor digest.
    #[must_use]
    pub fn or_latest(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.into());
        }
        self
    }

    /// `domain/path`, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as people write it: `docker.io/` and `library/` dropped.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        let name = self.path.strip_prefix("library/").filter(|p| !p.contains('/')).unwrap_or(&self.path);
        // What would be taken for a registry, or for an id, stays behind the registry's name.
        if is_id(name) || name.split_once('/').is_some_and(|(first, _)| is_domain_like(first)) {
            return self.repository();
        }
        name.to_owned()
    }

    /// The whole reference as people write it.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    fn with_suffix(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(&digest.to_string());
        }
        name
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.repository()))
    }
}

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        if is_id(text) {
            return Err(InvalidReference::LooksLikeId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse().map_err(|_| InvalidReference::Format)?)),
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(InvalidReference::Format);
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if is_domain_like(first) => (first, path.to_owned()),
            _ => (DEFAULT_DOMAIN, name.to_owned()),
        };
        let domain = if domain == "index.docker.io" { DEFAULT_DOMAIN } else { domain };
        let path =
            if domain == DEFAULT_DOMAIN && !path.contains('/') { format!("library/{path}") } else { path };
        if path.bytes().any(|c| c.is_ascii_uppercase()) {
            return Err(InvalidReference::UpperCase(path.trim_start_matches("library/").to_owned()));
        }
        if !is_domain(domain) || !path.split('/').all(is_component) {
            return Err(InvalidReference::Format);
        }
        if domain.len() + 1 + path.len() > 255 {
            return Err(InvalidReference::TooLong);
        }
        Ok(Self { domain: domain.into(), path, tag: tag.map(Into::into), digest })
    }
}

fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

/// Whether a reference's first component names a registry rather than a user.
fn is_domain_like(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|c| c.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, port)) => {
                if v6.is_empty() || !v6.bytes().all(|c| c.is_ascii_hexdigit() || c == b':') {
                    return false;
                }
                ("v6", port)
            }
            None => return false,
        },
        None => text.find(':').map_or((text, ""), |i| text.split_at(i)),
    };
    let label = |l: &str| {
        !l.is_empty()
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-')
    };
    let port_ok = match port.strip_prefix(':') {
        Some(digits) => !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()),
        None => port.is_empty(),
    };
    port_ok && host.split('.').all(label)
}

/// A path component: lower-case alphanumerics, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    if !text.starts_with(alnum) || !text.ends_with(alnum) {
        return false;
    }
    text.split(alnum)
        .filter(|s| !s.is_empty())
        .all(|s| matches!(s, "." | "_" | "__") || s.chars().all(|c| c == '-'))
}

fn is_tag(text: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    (1..=128).contains(&text.len())
        && word(text.as_bytes()[0])
        && text.bytes().all(|c| word(c) || c == b'.' || c == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalises_as_docker_does() {
        for (text, full, familiar) in [
            ("busybox", "docker.io/library/busybox", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("corten/hello", "docker.io/corten/hello", "corten/hello"),
            ("index.docker.io/library/x", "docker.io/library/x", "x"),
            ("localhost/x", "localhost/x", "localhost/x"),
            ("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t"),
            ("[::1]:5000/a", "[::1]:5000/a", "[::1]:5000/a"),
            ("a__b/c-d.e", "docker.io/a__b/c-d.e", "a__b/c-d.e"),
            ("docker.io/a.b/library/x", "docker.io/a.b/library/x", "docker.io/a.b/library/x"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
    }

    /// Damage anywhere: a reference that is written and read again as the same, or none.
    #[test]
    fn damage_is_survived() {
        let good =
            format!("Registry-1.example:5000/a__b/c-d.e:V1.2_3@sha256:{}", "0123456789abcdef".repeat(4));
        let mut seed = 1_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let (mut read, mut refused) = (0, 0);
        for _ in 0..20_000 {
            let mut text: Vec<char> = good.chars().collect();
            // Mostly without the digest: it is hardly ever whole.
            text.truncate(if random(4) == 0 { text.len() } else { 1 + random(40) });
            for _ in 0..random(4) {
                let at = random(text.len());
                match random(3) {
                    0 if text.len() > 1 => drop(text.remove(at)),
                    1 => {
                        text.insert(at, ['/', ':', '@', '.', '-', '_', '[', ']', 'A', 'é', '\0'][random(11)])
                    }
                    _ => text.truncate(at.max(1)),
                }
            }
            let text: String = text.into_iter().collect();
            match text.parse::<Reference>() {
                Ok(reference) => {
                    assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference), "{text}");
                    assert_eq!(reference.familiar().parse().as_ref(), Ok(&reference), "{text}");
                    read += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(read > 1000 && refused > 1000, "{read} {refused}");
    }

    #[test]
    fn refuses_what_docker_refuses() {
        let id = "a".repeat(64);
        for bad in
            ["", ":", "a:", "a/", "/a", "a//b", "Abc", "a:b:c", "a@sha256:00", "-a", "a___b", "a..b", &id]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad}");
        }
        assert_eq!(
            "Abc".parse::<Reference>().unwrap_err().to_string(),
            "invalid reference format: repository name (library/Abc) must be lowercase"
                .replace("library/", "")
        );
    }
}
