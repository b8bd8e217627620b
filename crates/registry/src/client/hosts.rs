//! Where a registry's content may be had: the mirrors of `hosts.toml` (containerd's), those of the configuration, and the
//! registry itself, in the order in which they are asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use super::{Config, host};
use crate::Error;

/// A place to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// Host and port.
    pub(crate) authority: String,
    /// Whether it speaks TLS; `None`: to be found out.
    pub(crate) tls: Option<bool>,
    /// Path of the API: `/v2`.
    pub(crate) api: String,
    /// What comes before the repository's name, with its slash.
    pub(crate) prefix: String,
    /// It may be asked for content; for what a tag points at; and be pushed to.
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) push: bool,
    /// The registry that it stands in for. Credentials are for the registry itself, not for its mirrors.
    pub(crate) mirror_of: Option<String>,
    /// Sent with each request.
    pub(crate) headers: HeaderMap,
    pub(crate) trust: Trust,
}

/// Files that say how far a place is trusted, beside those of certs.d.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Trust {
    /// Roots, PEM.
    pub(crate) roots: Vec<PathBuf>,
    /// Our certificate and its key, which may be in one file.
    pub(crate) identity: Option<(PathBuf, PathBuf)>,
    /// Any certificate will do.
    pub(crate) skip_verify: bool,
}

/// One table of hosts.toml: of a host, or the file itself for the server.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Table {
    capabilities: Option<Vec<String>>,
    ca: Option<Strings>,
    client: Option<Client>,
    skip_verify: Option<bool>,
    override_path: bool,
    header: BTreeMap<String, Strings>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Strings {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Client {
    One(String),
    Many(Vec<Pair>),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Pair {
    One(String),
    Two([String; 2]),
}

impl Strings {
    fn all(&self) -> &[String] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

impl Place {
    fn new(address: &str, override_path: bool) -> Result<Self, String> {
        let (tls, rest) = match address.split_once("://") {
            Some(("https", rest)) => (Some(true), rest),
            Some(("http", rest)) => (Some(false), rest),
            Some((scheme, _)) => {
                return Err(format!("{address}: {scheme}:// is neither http:// nor https://"));
            }
            None => (None, address),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if authority.is_empty() || authority.contains(['@', '?', '#', ' ']) || path.contains(['?', '#', ' '])
        {
            return Err(format!("{address} is not of the form https://HOST[:PORT][/PATH]"));
        }
        let path = path.trim_end_matches('/');
        let api = match (path, override_path) {
            ("" | "v2", false) => "/v2".to_owned(),
            ("", true) => String::new(),
            (path, true) => format!("/{path}"),
            (path, false) if path.ends_with("/v2") => format!("/{path}"),
            (path, false) => format!("/{path}/v2"),
        };
        Ok(Self {
            authority: host::of_domain(authority).to_owned(),
            tls,
            api,
            prefix: String::new(),
            pull: true,
            resolve: true,
            push: true,
            mirror_of: None,
            headers: HeaderMap::new(),
            trust: Trust::default(),
        })
    }

    /// The registry itself.
    pub(crate) fn registry(domain: &str) -> Self {
        Self {
            authority: host::of_domain(domain).to_owned(),
            tls: None,
            api: "/v2".into(),
            prefix: String::new(),
            pull: true,
            resolve: true,
            push: true,
            mirror_of: None,
            headers: HeaderMap::new(),
            trust: Trust::default(),
        }
    }

    /// A mirror of the configuration. A path in its address is put before the repository's name.
    pub(crate) fn mirror(address: &str, of: &str) -> Result<Self, String> {
        let mut place = Self::new(address, false)?;
        let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
        let path = rest.split_once('/').map_or("", |(_, path)| path.trim_matches('/'));
        place.api = "/v2".into();
        place.prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        place.push = false;
        place.mirror_of = Some(of.to_owned());
        Ok(place)
    }

    /// What a table says of it. Its files are beside hosts.toml.
    fn with(mut self, table: &Table, directory: &Path) -> Result<Self, String> {
        if let Some(capabilities) = &table.capabilities {
            (self.pull, self.resolve, self.push) = (false, false, false);
            for capability in capabilities {
                match capability.as_str() {
                    "pull" => self.pull = true,
                    "resolve" => self.resolve = true,
                    "push" => self.push = true,
                    // Of registries with referrers; nothing is asked of them that depends on it.
                    "referrers" => {}
                    other => return Err(format!("unknown capability {other:?}: use pull, resolve and push")),
                }
            }
        }
        let file = |name: &String| directory.join(name);
        self.trust.roots = table.ca.iter().flat_map(|ca| ca.all()).map(file).collect();
        self.trust.identity = match &table.client {
            None => None,
            Some(Client::One(both)) => Some((file(both), file(both))),
            Some(Client::Many(pairs)) => pairs.first().map(|pair| match pair {
                Pair::One(both) => (file(both), file(both)),
                Pair::Two([chain, key]) => (file(chain), file(key)),
            }),
        };
        self.trust.skip_verify = table.skip_verify.unwrap_or(false);
        for (name, values) in &table.header {
            for value in values.all() {
                let bad = |_| format!("header {name:?} cannot be sent");
                let key = HeaderName::from_bytes(name.as_bytes()).map_err(|e| bad(e.to_string()))?;
                let mut value = HeaderValue::from_str(value).map_err(|e| bad(e.to_string()))?;
                value.set_sensitive(true);
                self.headers.append(key, value);
            }
        }
        Ok(self)
    }
}

/// All places for a registry, the preferred ones first.
///
/// # Errors
/// A hosts.toml that cannot be read.
pub(crate) fn places(directories: &[PathBuf], config: &Config, domain: &str) -> Result<Vec<Place>, Error> {
    let setup =
        |path: &Path, detail| Error::Setup { step: "read", object: path.display().to_string(), detail };
    let (mut places, mut own) = (Vec::new(), Place::registry(domain));
    for path in candidates(directories, domain) {
        let read = sys::file::read_if_exists(&path).map_err(|e| setup(&path, e.source.to_string()))?;
        let Some(text) = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()) else { continue };
        let directory = path.parent().unwrap_or(Path::new("/"));
        (places, own) = parse(&text, directory, domain).map_err(|detail| setup(&path, detail))?;
        break;
    }
    let hub = domain == spec::reference::DEFAULT_DOMAIN;
    let configured =
        config.mirrors.iter().filter(|_| hub).chain(config.mirrors_of.get(domain).into_iter().flatten());
    for address in configured {
        let object = format!("mirror {address}");
        let mirror = Place::mirror(address, domain);
        places.push(mirror.map_err(|detail| Error::Setup { step: "use", object, detail })?);
    }
    places.push(own);
    Ok(places)
}

/// Where a registry's hosts.toml may be: containerd's names.
fn candidates(directories: &[PathBuf], domain: &str) -> Vec<PathBuf> {
    let mut names = vec![domain.to_owned()];
    if let Some((host, port)) = domain.rsplit_once(':') {
        names.push(format!("{host}_{port}_"));
    }
    names.push("_default".into());
    let below =
        |name: &String| directories.iter().map(|d| d.join(name).join("hosts.toml")).collect::<Vec<_>>();
    names.iter().flat_map(below).collect()
}

/// The mirrors in the file's order, and the server.
fn parse(text: &str, directory: &Path, domain: &str) -> Result<(Vec<Place>, Place), String> {
    /// `toml` keeps the order of the file.
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    struct File {
        server: String,
        host: toml::map::Map<String, toml::Value>,
        #[serde(flatten)]
        table: Table,
    }
    let file: File = toml::from_str(text).map_err(|e| e.to_string().trim().replace('\n', " "))?;
    let mut places = Vec::new();
    for (address, value) in file.host {
        let table: Table = value.try_into().map_err(|e| format!("host {address:?}: {e}"))?;
        let mut place = Place::new(&address, table.override_path)?.with(&table, directory)?;
        if place.authority != host::of_domain(domain) {
            place.mirror_of = Some(domain.to_owned());
        }
        places.push(place);
    }
    let server = match file.server.as_str() {
        "" => Place::registry(domain),
        address => Place::new(address, file.table.override_path)?,
    };
    Ok((places, server.with(&file.table, directory)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_toml_is_read_as_containerd_reads_it() {
        let text = r#"
            server = "https://registry-1.docker.io"
            capabilities = ["pull", "resolve"]
            [host."https://z.example:5000/hub"]
              capabilities = ["pull"]
              ca = "ca.pem"
              client = [["c.pem", "k.pem"]]
              [host."https://z.example:5000/hub".header]
                x-key = ["1", "2"]
            [host."http://a.example/v2/proxy"]
              override_path = true
              skip_verify = true
              ca = ["/a.pem", "b.pem"]
              client = "both.pem"
        "#;
        let (places, server) = parse(text, Path::new("/d"), "docker.io").unwrap();
        let [z, a] = places.as_slice() else { panic!("{places:?}") };
        assert_eq!((z.authority.as_str(), z.tls, z.api.as_str()), ("z.example:5000", Some(true), "/hub/v2"));
        assert_eq!((z.pull, z.resolve, z.push), (true, false, false));
        assert_eq!(z.trust.roots, [Path::new("/d/ca.pem")]);
        assert_eq!(z.trust.identity, Some(("/d/c.pem".into(), "/d/k.pem".into())));
        assert_eq!(z.headers.get_all("x-key").iter().count(), 2);
        assert_eq!((a.tls, a.api.as_str(), a.trust.skip_verify), (Some(false), "/v2/proxy", true));
        assert_eq!(a.trust.roots, [Path::new("/a.pem"), Path::new("/d/b.pem")]);
        assert_eq!(a.trust.identity, Some(("/d/both.pem".into(), "/d/both.pem".into())));
        assert_eq!(a.mirror_of.as_deref(), Some("docker.io"));
        assert_eq!(
            (server.authority.as_str(), server.push, server.mirror_of),
            ("registry-1.docker.io", false, None)
        );
        for bad in
            ["server = 1", "x = [", "[host.\"ftp://a\"]", "[host.\"https://a\"]\ncapabilities = [\"fly\"]"]
        {
            assert!(parse(bad, Path::new("/"), "a").is_err(), "{bad}");
        }
    }

    #[test]
    fn mirrors_come_before_the_registry() {
        let mirrors_of = BTreeMap::from([("quay.io".to_owned(), vec!["https://m.example/quay/".to_owned()])]);
        let config = Config { mirrors: vec!["https://h.example".into()], mirrors_of, ..Config::default() };
        let of = |domain: &str| -> Vec<(String, String)> {
            let places = places(&[], &config, domain).unwrap();
            places.into_iter().map(|p| (p.authority, p.prefix)).collect()
        };
        assert_eq!(of("quay.io"), [("m.example".into(), "quay/".into()), ("quay.io".into(), String::new())]);
        assert_eq!(of("docker.io")[0], ("h.example".into(), String::new()));
        assert_eq!(of("docker.io")[1], ("registry-1.docker.io".into(), String::new()));
        assert_eq!(of("ghcr.io"), [("ghcr.io".into(), String::new())]);
    }
}
