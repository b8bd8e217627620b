//! Git repositories, read as a client of theirs: protocol version 2 over http(s) and git, and nothing but one commit.
//!
//! | room | what is in it |
//! |---|---|
//! | [`wire`] | packets and commands, to a server |
//! | [`refs`] | which commit a branch, a tag or nothing at all is |
//! | [`pack`] | the objects that came |
//! | [`checkout`] | a commit's files |
//! | [`keep`] | `.git`, for those who want it |
//!
//! No `git` runs: what a repository says would be more than data to it (hooks, filters, configuration). An object is
//! known by its id, which is computed here, so a commit is what its id says, whoever the server is.

mod checkout;
mod keep;
mod pack;
mod refs;
mod wire;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use base64::Engine as _;
use registry::client::Client;
use spec::git::Address;
use sys::root::Root;

use crate::error::{Error, Result};
use crate::key::Hasher;
use crate::op::blocking;
use crate::remote::host;
pub(crate) use refs::Settled;

/// Repositories inside each other go no deeper, and are no more.
const MAX_DEPTH: usize = 8;
const MAX_MODULES: usize = 256;
/// A .gitmodules is no longer.
const MAX_MODULES_BYTES: usize = 1 << 20;

/// An object's id: SHA-1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Oid([u8; 20]);

impl fmt::Display for Oid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&spec::digest::hex(&self.0))
    }
}

impl FromStr for Oid {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Self, ()> {
        let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok()).ok_or(());
        if text.len() != 40 {
            return Err(());
        }
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(bytes))
    }
}

/// A repository, and what its servers are told of who asks.
#[derive(Debug, Clone)]
pub(crate) struct Repository {
    pub(crate) address: Address,
    /// Sent as `Authorization`, to this host.
    pub(crate) authorization: Option<String>,
    /// Whether `.git` stays.
    pub(crate) keep: bool,
}

impl Repository {
    /// A repository with what the build's secrets (by id) have for it: BuildKit's names.
    pub(crate) fn new(address: Address, keep: bool, secret: impl Fn(&str) -> Option<String>) -> Self {
        let name = host(&address.url).to_owned();
        let find = |what: &str| secret(&format!("{what}.{name}")).or_else(|| secret(what));
        let basic = |token: String| {
            let pair = format!("x-access-token:{token}");
            format!("basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
        };
        let authorization = find("GIT_AUTH_HEADER").or_else(|| find("GIT_AUTH_TOKEN").map(basic));
        // Of a part of a repository there is no `.git`.
        let keep = keep && address.subdir.is_empty();
        Self { address, authorization, keep }
    }

    /// Feeds what is wanted; not who asks.
    pub(crate) fn define(&self, hasher: &mut Hasher) {
        let Address { url, reference, subdir, checksum, submodules, .. } = &self.address;
        hasher.field(b"git").field(url.as_bytes()).field(reference.as_bytes()).field(subdir.as_bytes());
        hasher.field(checksum.as_deref().unwrap_or_default().as_bytes());
        hasher.number(u64::from(self.keep)).number(u64::from(*submodules));
    }

    /// The commit that the address says without asking anybody.
    pub(crate) fn fixed(&self) -> Option<Oid> {
        self.address.reference.parse().ok()
    }

    /// Asks which commit is meant.
    pub(crate) async fn settle(&self, client: &Client) -> Result<Settled> {
        let mut line = wire::Line::open(client, &self.address.url, self.authorization.as_deref()).await?;
        let settled = refs::settle(&mut line, &self.address.reference).await?;
        self.agrees(&[settled.commit, settled.object])?;
        Ok(settled)
    }

    /// Whether one of some ids is the one that must come.
    pub(crate) fn agrees(&self, ids: &[Oid]) -> Result<()> {
        let Some(expected) = &self.address.checksum else { return Ok(()) };
        let agrees = |id: &Oid| id.to_string().starts_with(&expected.to_ascii_lowercase());
        if ids.iter().any(agrees) {
            return Ok(());
        }
        let got = ids.first().map(ToString::to_string).unwrap_or_default();
        Err(failed(&self.address.url, format!("expected checksum to match {expected}, got {got}")))
    }

    /// Puts a commit's files into an empty directory; `scratch` is for what comes on the way.
    pub(crate) async fn checkout(
        &self,
        client: &Client,
        settled: &Settled,
        scratch: &Path,
        target: &Path,
    ) -> Result<()> {
        let mut pending = vec![(self.address.clone(), settled.clone(), String::new(), 0)];
        let mut modules = 0;
        while let Some((address, settled, place, depth)) = pending.pop() {
            // Credentials are for the repository that they were given for.
            let own = host(&address.url) == host(&self.address.url);
            let authorization = self.authorization.as_deref().filter(|_| own);
            let mut line = wire::Line::open(client, &address.url, authorization).await?;
            let file = line.fetch(settled.object, scratch).await?;
            let keep = (self.keep && place.is_empty()).then(|| settled.clone());
            let (root, inner, known) = (target.join(&place), place.clone(), address.clone());
            let links = blocking(move || {
                let pack = pack::Pack::read(file).map_err(|wrong| failed(&known.url, wrong.to_string()))?;
                let root = Root::open(&root)?;
                let files =
                    checkout::commit(&pack, settled.commit, &known.subdir, root.top(), keep.is_some())
                        .map_err(|wrong| wrong.of(&known.url))?;
                if let Some(settled) = keep {
                    keep::write(&root, &pack, &known, &settled, &files)?;
                }
                Ok(files.links)
            })
            .await?;
            if !self.address.submodules {
                continue;
            }
            for link in links {
                modules += 1;
                if modules > MAX_MODULES || depth == MAX_DEPTH {
                    return Err(failed(&address.url, "too many repositories inside each other".into()));
                }
                let url = resolve(&address.url, &link.url).ok_or_else(|| {
                    failed(&address.url, format!("submodule {}: unusable address {:?}", link.path, link.url))
                })?;
                let address = Address {
                    url,
                    reference: link.commit.to_string(),
                    subdir: String::new(),
                    keep_git_dir: None,
                    checksum: None,
                    submodules: true,
                };
                let place = match inner.as_str() {
                    "" => link.path,
                    inner => format!("{inner}/{}", link.path),
                };
                let settled = Settled { commit: link.commit, object: link.commit, name: None };
                pending.push((address, settled, place, depth + 1));
            }
        }
        Ok(())
    }
}

/// Puts a repository's files into an empty directory: a build's context. Returns the commit's id.
///
/// # Errors
/// It cannot be reached, has no such commit or directory, or is damaged.
pub async fn checkout(
    host: &crate::Host,
    address: &Address,
    secrets: &std::collections::BTreeMap<String, Vec<u8>>,
    keep: bool,
    target: &Path,
) -> std::result::Result<String, Error> {
    let secret = |id: &str| secrets.get(id).map(|value| String::from_utf8_lossy(value).trim().to_owned());
    let keep = address.keep_git_dir.unwrap_or(keep);
    let repository = Repository::new(address.clone(), keep, secret);
    let settled = repository.settle(&host.registry).await?;
    repository.checkout(&host.registry, &settled, target, target).await?;
    Ok(settled.commit.to_string())
}

/// A failure that says of which repository.
fn failed(url: &str, detail: String) -> Error {
    Error::Step { step: format!("failed to load git source {url}"), detail }
}

/// A submodule's address as seen from its repository's; `None` for what is not fetched from a server.
fn resolve(from: &str, url: &str) -> Option<String> {
    if !url.starts_with("./") && !url.starts_with("../") {
        let known = ["http://", "https://", "git://"].iter().any(|scheme| url.starts_with(scheme));
        return known.then(|| url.to_owned());
    }
    let (scheme, rest) = from.split_once("://")?;
    let (authority, path) = rest.split_once('/')?;
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    for part in url.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(format!("{scheme}://{authority}/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_are_found_beside_their_repository() {
        let from = "https://h:1/a/b.git";
        for (url, expected) in [
            ("../c.git", Some("https://h:1/a/c.git")),
            ("../../../c", None),
            ("./d", Some("https://h:1/a/b.git/d")),
            ("git://x/y", Some("git://x/y")),
            ("/etc", None),
            ("file:///etc", None),
            ("git@h:p", None),
        ] {
            assert_eq!(resolve(from, url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn ids_are_read() {
        let text = "0123456789abcdef0123456789ABCDEF01234567";
        assert_eq!(text.parse::<Oid>().unwrap().to_string(), text.to_ascii_lowercase());
        assert!("01".parse::<Oid>().is_err() && "é".repeat(20).parse::<Oid>().is_err());
    }
}
