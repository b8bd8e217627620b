//! The page for people: repositories, tags, sizes, layers. Plain HTML, made here, without scripts.

use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response, StatusCode};

use super::body::{self, Body};
use super::config::Action;
use super::digest::Digest;
use super::list::visible;
use super::refusal::{Code, Refusal};
use super::repository::{Link, Result, blob_key};
use super::route::{Key, Name, decode, parameter};
use super::{Caller, Registry};

/// Repositories or tags on one page.
const ROWS: usize = 200;
const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:68em;\
margin:2em auto;padding:0 1em}h1{font-size:1.35em}h1 a{color:inherit;text-decoration:none}a{color:#0b57a4}\
h2{font-size:1.1em;margin-top:1.6em}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.4em .8em .4em 0;border-bottom:1px solid #ddd;\
vertical-align:top}th{font-weight:600}td.n,th.n{text-align:right;white-space:nowrap}code,pre{font:13px/1.5 ui-monospace,\
monospace;overflow-wrap:anywhere}pre{background:#f4f4f2;padding:.7em 1em;white-space:pre-wrap}.dim{color:#666}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}a{color:#7db7f0}th,td{border-color:#383838}\
pre{background:#242424}.dim{color:#999}}";

/// A page of this path: `/`, `/repositories/<name>`, `/repositories/<name>@<digest or tag>`.
pub(crate) async fn get(
    registry: &Registry,
    caller: &Caller,
    path: &str,
    query: &str,
) -> Result<Response<Body>> {
    let path = decode(path);
    if path == "/" {
        return repositories(registry, caller, query).await;
    }
    let nowhere = || Refusal::new(Code::NameUnknown, "no such page");
    let rest = path.strip_prefix("/repositories/").ok_or_else(nowhere)?;
    let (name, key) = match rest.split_once('@') {
        Some((name, key)) => (name, Some(Key::parse(key).ok_or_else(nowhere)?)),
        None => (rest, None),
    };
    let name = Name::parse(name).ok_or_else(nowhere)?;
    caller.check(&name, &[Action::Pull])?;
    match key {
        None => tags(registry, &name, &caller.origin, query).await,
        Some(key) => manifest(registry, &name, &key).await,
    }
}

async fn repositories(registry: &Registry, caller: &Caller, query: &str) -> Result<Response<Body>> {
    if !caller.access.may_list(&caller.identity) {
        return Err(Refusal::new(Code::Unauthorized, "authentication required"));
    }
    let names = visible(registry, caller).await?;
    let mut out = Html::new("Repositories");
    if names.is_empty() {
        out.raw("<p>There is nothing here yet. To put something here:</p><pre>");
        let host = caller.host();
        out.text(&format!("docker tag IMAGE {host}/NAME:TAG\ndocker push {host}/NAME:TAG"));
        out.raw("</pre>");
        return Ok(out.done());
    }
    let after = parameter(query, "after").unwrap_or_default();
    let rest: Vec<&Name> = names.iter().filter(|n| n.as_str() > after.as_str()).collect();
    out.raw("<table><tr><th>Repository<th class=n>Tags<th class=n>Size");
    for name in rest.iter().take(ROWS) {
        let tags = registry.repositories.tags(name).await?.len();
        let size = registry.repositories.size(name).await?;
        out.raw("<tr><td><a href=\"/repositories/");
        out.text(name.as_str());
        out.raw("\">");
        out.text(name.as_str());
        out.raw(&format!("</a><td class=n>{tags}<td class=n>{}", human(size)));
    }
    out.raw("</table>");
    if rest.len() > ROWS {
        out.raw(&format!("<p><a href=\"/?after={}\">more</a>", rest[ROWS - 1].as_str()));
    }
    Ok(out.done())
}

async fn tags(registry: &Registry, name: &Name, origin: &str, query: &str) -> Result<Response<Body>> {
    let repositories = &registry.repositories;
    if !repositories.exists(name).await? {
        return Err(Refusal::new(Code::NameUnknown, format!("there is no repository {}", name.as_str())));
    }
    let mut tags = repositories.tags(name).await?;
    // What was pushed last is what people look for.
    tags.sort_by(|(a, x), (b, y)| y.modified.cmp(&x.modified).then_with(|| a.cmp(b)));
    let from: usize = parameter(query, "from").and_then(|f| f.parse().ok()).unwrap_or(0);
    let mut out = Html::new(name.as_str());
    let host = origin.split("://").nth(1).unwrap_or(origin);
    if let Some((newest, _)) = tags.first() {
        out.raw("<pre>");
        out.text(&format!("docker pull {host}/{}:{newest}", name.as_str()));
        out.raw("</pre>");
    }
    out.raw("<table><tr><th>Tag<th>Pushed<th class=n>Size<th>Digest");
    for (tag, stat) in tags.iter().skip(from).take(ROWS) {
        let Some((digest, _)) = repositories.resolve(name, &Key::Tag(tag.clone())).await? else { continue };
        out.raw("<tr><td><a href=\"/repositories/");
        out.text(&format!("{}@{tag}", name.as_str()));
        out.raw("\">");
        out.text(tag);
        out.raw("</a><td class=dim>");
        out.text(&time(stat.modified));
        out.raw(&format!("<td class=n>{}<td><code>", human(total(registry, &digest).await)));
        out.text(&short(&digest));
        out.raw("</code>");
    }
    out.raw("</table>");
    if tags.is_empty() {
        out.raw("<p class=dim>No tags.");
    }
    if tags.len() > from.saturating_add(ROWS) {
        out.raw(&format!("<p><a href=\"?from={}\">more</a>", from + ROWS));
    }
    Ok(out.done())
}

/// The bytes of an image, or of all images of an index.
async fn total(registry: &Registry, digest: &Digest) -> u64 {
    let Ok(contents) = registry.repositories.contents(digest).await else { return 0 };
    let mut size: u64 = contents.config.iter().chain(&contents.layers).map(|d| d.size).sum();
    for inner in &contents.manifests {
        if let Ok(contents) = registry.repositories.contents(&inner.digest).await {
            size += contents.config.iter().chain(&contents.layers).map(|d| d.size).sum::<u64>();
        }
    }
    size
}

async fn manifest(registry: &Registry, name: &Name, key: &Key) -> Result<Response<Body>> {
    let repositories = &registry.repositories;
    let unknown = || Refusal::new(Code::ManifestUnknown, format!("there is no {}@{key}", name.as_str()));
    let (digest, media_type) = repositories.resolve(name, key).await?.ok_or_else(unknown)?;
    let contents = repositories.contents(&digest).await?;
    let mut out = Html::new(&format!("{}@{key}", name.as_str()));
    out.raw("<p><a href=\"/repositories/");
    out.text(name.as_str());
    out.raw("\">all tags</a><table><tr><th>Digest<td><code>");
    out.text(&digest.to_string());
    out.raw("</code><tr><th>Type<td><code>");
    out.text(&media_type);
    out.raw("</code>");
    if let Some(kind) = &contents.artifact_type {
        out.raw("<tr><th>Artifact<td><code>");
        out.text(kind);
        out.raw("</code>");
    }
    out.raw(&format!("<tr><th>Size<td>{}", human(total(registry, &digest).await)));
    if let Some(subject) = &contents.subject {
        out.raw("<tr><th>About<td>");
        out.link(name, &subject.digest);
    }
    for (key, value) in &contents.annotations {
        out.raw("<tr><th>");
        out.text(key);
        out.raw("<td>");
        out.text(value);
    }
    out.raw("</table>");
    if !contents.manifests.is_empty() {
        out.raw("<h2>Images</h2><table><tr><th>Platform<th>Digest<th class=n>Size");
        for inner in &contents.manifests {
            out.raw("<tr><td>");
            match &inner.platform {
                Some(p) if p.variant.is_empty() => out.text(&format!("{}/{}", p.os, p.architecture)),
                Some(p) => out.text(&format!("{}/{}/{}", p.os, p.architecture, p.variant)),
                None => out.raw("<span class=dim>–</span>"),
            }
            out.raw("<td>");
            match repositories.link(name, Link::Manifest, &inner.digest).await? {
                Some(_) => out.link(name, &inner.digest),
                None => out.text(&short(&inner.digest)),
            }
            out.raw(&format!("<td class=n>{}", human(total(registry, &inner.digest).await)));
        }
        out.raw("</table>");
    }
    if !contents.layers.is_empty() {
        out.raw("<h2>Layers</h2><table><tr><th class=n>#<th>Digest<th>Type<th class=n>Size");
        for (number, layer) in contents.layers.iter().enumerate() {
            out.raw(&format!("<tr><td class=n>{}<td><code>", number + 1));
            out.text(&short(&layer.digest));
            out.raw("</code><td class=dim>");
            out.text(&layer.media_type);
            let here = repositories.storage.stat(&blob_key(&layer.digest)).await?.is_some();
            out.raw(&format!("<td class=n>{}{}", human(layer.size), if here { "" } else { " (elsewhere)" }));
        }
        out.raw("</table>");
    }
    let about = repositories.referrers(name, &digest).await?;
    if !about.is_empty() {
        out.raw("<h2>About this</h2><ul>");
        for referrer in &about {
            out.raw("<li>");
            out.link(name, referrer);
        }
        out.raw("</ul>");
    }
    Ok(out.done())
}

/// A refusal, for people.
pub(crate) fn refused(refusal: &Refusal) -> Response<Body> {
    let mut out = Html::new("That did not work");
    out.raw("<p>");
    out.text(&refusal.to_string());
    let mut response = out.done();
    *response.status_mut() = refusal.code().status();
    response
}

fn short(digest: &Digest) -> String {
    format!("{}:{}", digest.algorithm(), &digest.hex()[..12])
}

fn human(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut size = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if size < 999.5 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{size:.1} {unit}") };
        }
        size /= 1000.0;
    }
    format!("{size:.1} TB")
}

fn time(at: std::time::SystemTime) -> String {
    jiff::Timestamp::try_from(at)
        .map_or_else(|_| String::new(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A page being made. What is not of this file goes through [`Html::text`].
struct Html(String);

impl Html {
    fn new(title: &str) -> Self {
        let mut out = Self(String::from(
            "<!doctype html><html lang=en><meta charset=utf-8>\
             <meta name=viewport content=\"width=device-width\"><title>",
        ));
        out.text(title);
        out.raw("</title><style>");
        out.raw(STYLE);
        out.raw("</style><h1><a href=\"/\">Corten registry</a> · ");
        out.text(title);
        out.raw("</h1>");
        out
    }

    fn raw(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn text(&mut self, text: &str) {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
    }

    fn link(&mut self, name: &Name, digest: &Digest) {
        self.raw(&format!(
            "<a href=\"/repositories/{}@{digest}\"><code>{}</code></a>",
            name.as_str(),
            short(digest)
        ));
    }

    fn done(self) -> Response<Body> {
        let media_type = HeaderValue::from_static("text/html; charset=utf-8");
        let mut response = body::full(StatusCode::OK, media_type, self.0);
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                 frame-ancestors 'none'",
            ),
        );
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text() {
        let mut out = Html(String::new());
        out.text("<script>'\"&");
        assert_eq!(out.0, "&lt;script&gt;&#39;&quot;&amp;");
        assert_eq!(human(999), "999 B");
        assert_eq!(human(1_234_567), "1.2 MB");
        assert_eq!(human(999_600), "1.0 MB");
    }
}
