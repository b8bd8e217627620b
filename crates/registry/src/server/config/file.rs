//! The configuration file (TOML): what may stand in it, and what it means.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::{Action, Collect, Config, Proxy, Quota, Retention, Rule, Webhook, value};
use crate::server::pattern::Pattern;
use crate::server::storage::BucketConfig;
use crate::server::token::Issuer;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct File {
    listen: Option<SocketAddr>,
    root: Option<PathBuf>,
    external_url: Option<String>,
    metrics: Option<SocketAddr>,
    read_only: bool,
    page: Option<bool>,
    warning: Option<String>,
    max_blob_size: Option<String>,
    htpasswd: Option<PathBuf>,
    tls: Option<Tls>,
    groups: BTreeMap<String, Vec<String>>,
    rights: Vec<Rights>,
    token: Option<Token>,
    proxy: Option<ProxyTable>,
    s3: Option<S3>,
    collect: CollectTable,
    retention: Vec<RetentionTable>,
    quota: Vec<QuotaTable>,
    webhook: Vec<WebhookTable>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Tls {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Rights {
    repositories: Vec<String>,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    anonymous: bool,
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Token {
    #[serde(default)]
    issuer: Option<String>,
    #[serde(default)]
    service: Option<String>,
    #[serde(default)]
    realm: Option<String>,
    #[serde(default)]
    key: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ProxyTable {
    upstream: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password_file: Option<PathBuf>,
    #[serde(default)]
    revalidate: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct S3 {
    endpoint: String,
    bucket: String,
    #[serde(default)]
    region: Option<String>,
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    credentials_file: Option<PathBuf>,
    #[serde(default)]
    virtual_host: bool,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    redirect: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct CollectTable {
    every: Option<String>,
    grace: Option<String>,
    uploads_after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RetentionTable {
    repositories: Vec<String>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    keep_last: Option<usize>,
    #[serde(default)]
    keep_within: Option<String>,
    #[serde(default)]
    untagged_after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct QuotaTable {
    repositories: Vec<String>,
    size: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WebhookTable {
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    actions: Vec<String>,
    #[serde(default)]
    repositories: Option<Vec<String>>,
}

/// Puts the key before what is wrong with its value.
fn at<T, E: std::fmt::Display>(key: &str, value: Result<T, E>) -> Result<T, String> {
    value.map_err(|e| format!("{key}: {e}"))
}

fn duration(key: &str, text: &str) -> Result<Duration, String> {
    at(key, value::duration(text))
}

fn patterns(key: &str, texts: Vec<String>) -> Result<Vec<Pattern>, String> {
    if texts.is_empty() || texts.iter().any(String::is_empty) {
        return Err(format!("{key}: expected patterns like [\"team/**\"]; [\"**\"] is all"));
    }
    Ok(texts.into_iter().map(Pattern::new).collect())
}

impl std::str::FromStr for Config {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Config {
    /// Reads the configuration file.
    ///
    /// # Errors
    /// The file cannot be read, or the key at fault and why.
    pub fn read(path: &Path) -> Result<Self, crate::Error> {
        let setup = |detail: String| crate::Error::Setup {
            step: "read configuration",
            object: path.display().to_string(),
            detail,
        };
        let bytes = sys::file::read(path).map_err(|e| setup(e.source.to_string()))?;
        let text = String::from_utf8(bytes).map_err(|_| setup("it is not text".into()))?;
        text.parse().map_err(setup)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|e| e.to_string().trim_end().to_owned())?;
        let mut config = Self::default();
        config.listen = file.listen.unwrap_or(config.listen);
        if file.root.is_some() && file.s3.is_some() {
            return Err("root: content is kept in the bucket of [s3], or in a directory, not in both".into());
        }
        config.root = file.root.unwrap_or(config.root);
        config.htpasswd = file.htpasswd;
        config.tls = file.tls.map(|tls| (tls.certificate, tls.key));
        config.metrics = file.metrics;
        config.read_only = file.read_only;
        config.page = file.page.unwrap_or(true);
        let settings = &mut config.settings;
        settings.warning = file.warning.map(warning).transpose()?;
        settings.external = file.external_url.map(|url| http_url("external-url", url)).transpose()?;
        if let Some(size) = file.max_blob_size {
            settings.max_blob = at("max-blob-size", value::size(&size))?;
        }
        for rights in file.rights {
            let rule = rule(rights)?;
            if let Some(unknown) = rule.groups.iter().find(|g| !file.groups.contains_key(*g)) {
                return Err(format!("rights.groups: there is no group {unknown:?} in [groups]"));
            }
            settings.rules.push(rule);
        }
        settings.groups = file.groups;
        settings.token = file.token.map(issuer).transpose()?;
        settings.proxy = file.proxy.map(proxy).transpose()?;
        settings.bucket = file.s3.map(bucket).transpose()?;
        let mut default = settings.collect.clone();
        if settings.proxy.is_some() {
            // What a cache was fetching when it was killed nobody goes on with: it is fetched anew.
            default.uploads = default.grace;
        }
        settings.collect = collect(file.collect, default)?;
        settings.retention = file.retention.into_iter().map(retention).collect::<Result<_, _>>()?;
        for quota in file.quota {
            settings.quotas.push(Quota {
                repositories: patterns("quota.repositories", quota.repositories)?,
                size: at("quota.size", value::size(&quota.size))?,
            });
        }
        settings.webhooks = file.webhook.into_iter().map(webhook).collect::<Result<_, _>>()?;
        config.check()?;
        Ok(config)
    }

    /// What makes no sense together, wherever it was said.
    ///
    /// # Errors
    /// The key at fault and why.
    pub fn check(&self) -> Result<(), String> {
        let settings = &self.settings;
        let foreign = settings.token.as_ref().is_some_and(|issuer| issuer.realm.is_some());
        if self.htpasswd.is_none() && !foreign && settings.token.is_some() {
            return Err("token: without a realm this server makes the tokens, and needs htpasswd".into());
        }
        let named = settings.rules.iter().any(|rule| !rule.anonymous);
        if named && self.htpasswd.is_none() {
            return Err("rights.users: there are no users without htpasswd".into());
        }
        if foreign && !settings.rules.is_empty() {
            return Err(
                "rights: tokens of another service say what may be done; rules here would not count".into()
            );
        }
        Ok(())
    }
}

fn warning(text: String) -> Result<String, String> {
    let printable = text.bytes().all(|c| matches!(c, b' '..=b'~') && c != b'"' && c != b'\\');
    if printable { Ok(text) } else { Err("warning: expected printable ASCII without quotes".into()) }
}

fn http_url(key: &str, url: String) -> Result<String, String> {
    let parsed: http::Uri = at(key, url.parse())?;
    match parsed.scheme_str() {
        Some("http" | "https") if parsed.authority().is_some() => Ok(url.trim_end_matches('/').to_owned()),
        _ => Err(format!("{key}: expected http://… or https://…, not {url:?}")),
    }
}

fn rule(rights: Rights) -> Result<Rule, String> {
    let action = |text: &String| match text.as_str() {
        "pull" => Ok(vec![Action::Pull]),
        "push" => Ok(vec![Action::Push]),
        "delete" => Ok(vec![Action::Delete]),
        "all" => Ok(vec![Action::Pull, Action::Push, Action::Delete]),
        other => Err(format!("rights.allow: {other:?} is none of pull, push, delete, all")),
    };
    let allow = rights.allow.iter().map(action).collect::<Result<Vec<_>, _>>()?.concat();
    if rights.users.is_empty() && rights.groups.is_empty() && !rights.anonymous {
        return Err("rights: for whom? Give users, groups, or anonymous = true".into());
    }
    Ok(Rule {
        repositories: patterns("rights.repositories", rights.repositories)?,
        users: rights.users,
        groups: rights.groups,
        anonymous: rights.anonymous,
        allow,
    })
}

fn issuer(token: Token) -> Result<Issuer, String> {
    if token.realm.is_some() && (token.key.is_none() || token.issuer.is_none() || token.service.is_none()) {
        return Err("token.realm: tokens of another service need its issuer, service and key, too".into());
    }
    Ok(Issuer {
        name: token.issuer.unwrap_or_else(|| super::super::ISSUER.into()),
        service: token.service.unwrap_or_else(|| super::super::ISSUER.into()),
        realm: token.realm.map(|url| http_url("token.realm", url)).transpose()?,
        key: token.key,
    })
}

fn proxy(table: ProxyTable) -> Result<Proxy, String> {
    let url = http_url("proxy.upstream", table.upstream)?;
    let (scheme, upstream) = url.split_once("://").unwrap_or(("https", &url));
    if upstream.contains('/') {
        return Err(format!("proxy.upstream: expected scheme and host only, not {url:?}"));
    }
    if scheme == "http" && !table.insecure {
        return Err(
            "proxy.upstream: http:// sends passwords in the clear: set insecure = true to allow it".into()
        );
    }
    Ok(Proxy {
        upstream: upstream.to_owned(),
        insecure: table.insecure,
        username: table.username,
        password_file: table.password_file,
        revalidate: table.revalidate.map_or(Ok(Duration::ZERO), |t| duration("proxy.revalidate", &t))?,
    })
}

fn bucket(table: S3) -> Result<BucketConfig, String> {
    let endpoint = http_url("s3.endpoint", table.endpoint)?;
    if endpoint.starts_with("http:") && !table.insecure {
        return Err("s3.endpoint: http:// sends content in the clear: set insecure = true to allow it".into());
    }
    Ok(BucketConfig {
        endpoint,
        bucket: table.bucket,
        region: table.region.unwrap_or_else(|| "us-east-1".into()),
        prefix: table.prefix.trim_matches('/').to_owned(),
        credentials_file: table.credentials_file,
        virtual_host: table.virtual_host,
        redirect: table.redirect,
    })
}

fn collect(table: CollectTable, default: Collect) -> Result<Collect, String> {
    let every = match table.every.as_deref() {
        None => default.every,
        Some("never") => None,
        Some(text) => Some(duration("collect.every", text)?),
    };
    if every.is_some_and(|every| every.is_zero()) {
        return Err("collect.every: expected some time, or \"never\"".into());
    }
    let or = |key, text: Option<String>, default| text.map_or(Ok(default), |t| duration(key, &t));
    Ok(Collect {
        every,
        grace: or("collect.grace", table.grace, default.grace)?,
        uploads: or("collect.uploads-after", table.uploads_after, default.uploads)?,
    })
}

fn retention(table: RetentionTable) -> Result<Retention, String> {
    let days = |key, text: Option<String>| text.map(|t| duration(key, &t)).transpose();
    let retention = Retention {
        repositories: patterns("retention.repositories", table.repositories)?,
        tags: patterns("retention.tags", table.tags.unwrap_or_else(|| vec!["**".into()]))?,
        except: table.except.into_iter().map(Pattern::new).collect(),
        keep_last: table.keep_last,
        keep_within: days("retention.keep-within", table.keep_within)?,
        untagged_after: days("retention.untagged-after", table.untagged_after)?,
    };
    if retention.keep_last.is_none() && retention.keep_within.is_none() && retention.untagged_after.is_none()
    {
        return Err(
            "retention: give keep-last, keep-within or untagged-after; nothing would go otherwise".into()
        );
    }
    Ok(retention)
}

fn webhook(table: WebhookTable) -> Result<Webhook, String> {
    const ACTIONS: [&str; 4] = ["push", "pull", "mount", "delete"];
    if let Some(odd) = table.actions.iter().find(|a| !ACTIONS.contains(&a.as_str())) {
        return Err(format!("webhook.actions: {odd:?} is none of {}", ACTIONS.join(", ")));
    }
    for (name, value) in &table.headers {
        at("webhook.headers", http::HeaderName::try_from(name))?;
        at("webhook.headers", http::HeaderValue::try_from(value))?;
    }
    Ok(Webhook {
        url: http_url("webhook.url", table.url)?,
        headers: table.headers,
        actions: table.actions,
        repositories: patterns(
            "webhook.repositories",
            table.repositories.unwrap_or_else(|| vec!["**".into()]),
        )?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_it_all() {
        let config = Config::parse(
            r#"
            listen = "0.0.0.0:443"
            htpasswd = "/etc/users"
            max-blob-size = "10GiB"
            [tls]
            certificate = "/c"
            key = "/k"
            [groups]
            dev = ["ada"]
            [[rights]]
            repositories = ["team/**"]
            groups = ["dev"]
            allow = ["all"]
            [[rights]]
            repositories = ["**"]
            anonymous = true
            allow = ["pull"]
            [collect]
            every = "never"
            grace = "2h"
            [[retention]]
            repositories = ["ci/**"]
            keep-last = 3
            [[quota]]
            repositories = ["**"]
            size = "1GB"
            [[quota]]
            repositories = ["team/**"]
            size = "500MB"
            "#,
        )
        .unwrap();
        assert_eq!(config.listen.port(), 443);
        assert_eq!(config.settings.rules.len(), 2);
        assert_eq!(config.settings.collect.every, None);
        assert_eq!(config.quota("team/x"), Some(500_000_000));
        assert_eq!(config.quota("x"), Some(1_000_000_000));
        let uploads = |text: &str| Config::parse(text).unwrap().settings.collect.uploads;
        let cache = "[proxy]\nupstream = \"https://x\"\n";
        let default = Config::default().settings.collect;
        assert_eq!((uploads(""), uploads(cache)), (default.uploads, default.grace));
        assert_eq!(uploads(&format!("{cache}[collect]\nuploads-after = \"2h\"")).as_secs(), 7200);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("lisen = 1", "unknown field `lisen`"),
            ("listen = \"x\"", "listen"),
            ("[tls]\ncertificate = \"/c\"", "missing field `key`"),
            ("[collect]\ngrace = \"soon\"", "collect.grace: \"soon\" is not a duration"),
            ("[[quota]]\nrepositories = [\"**\"]\nsize = \"7\"", "quota.size: \"7\" is not a size"),
            ("[[rights]]\nrepositories = []\nanonymous = true\nallow = [\"pull\"]", "rights.repositories"),
            ("[[rights]]\nrepositories = [\"**\"]\nallow = [\"pull\"]", "for whom?"),
            (
                "[[rights]]\nrepositories = [\"**\"]\nanonymous = true\nallow = [\"read\"]",
                "rights.allow: \"read\"",
            ),
            (
                "[[rights]]\nrepositories = [\"**\"]\ngroups = [\"x\"]\nallow = [\"pull\"]",
                "rights.groups: there is no group \"x\"",
            ),
            (
                "[[rights]]\nrepositories = [\"**\"]\nusers = [\"x\"]\nallow = [\"pull\"]",
                "rights.users: there are no users without htpasswd",
            ),
            ("[token]", "needs htpasswd"),
            ("[token]\nrealm = \"https://x/t\"", "issuer, service and key"),
            ("[proxy]\nupstream = \"ftp://x\"", "proxy.upstream: expected http"),
            ("[proxy]\nupstream = \"http://x\"", "insecure = true"),
            (
                "root = \"/r\"\n[s3]\nendpoint = \"https://x\"\nbucket = \"b\"",
                "root: content is kept in the bucket",
            ),
            ("[[webhook]]\nurl = \"x\"", "webhook.url"),
            ("[[retention]]\nrepositories = [\"**\"]", "nothing would go"),
            ("external-url = \"x\"", "external-url: expected http"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(named), "{text}\n{error}");
        }
    }
}
