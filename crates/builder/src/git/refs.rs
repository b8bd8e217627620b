//! Which commit is meant.

use super::wire::{Line, Packet};
use super::{Oid, failed};
use crate::error::Result;
use crate::instructions::read::nearest;

/// A repository's names are looked through up to this many.
const MOST: usize = 200_000;

/// A commit that somebody's word stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    /// The commit.
    pub(crate) commit: Oid,
    /// What the name stands for: the commit, or a tag of it.
    pub(crate) object: Oid,
    /// The full name (`refs/heads/main`), where there is one.
    pub(crate) name: Option<String>,
}

/// One name of a repository.
#[derive(Debug, Clone)]
struct Named {
    name: String,
    object: Oid,
    peeled: Option<Oid>,
    symbolic: Option<String>,
}

/// Finds out which commit a branch, a tag, a full name or a commit's id is; nothing is the repository's HEAD.
pub(super) async fn settle(line: &mut Line<'_>, reference: &str) -> Result<Settled> {
    if let Ok(commit) = reference.parse() {
        return Ok(Settled { commit, object: commit, name: None });
    }
    // As git does: a branch before a tag.
    let candidates = match reference {
        "" => vec!["HEAD".to_owned()],
        full if full.starts_with("refs/") => vec![full.to_owned()],
        short => ["refs/heads/", "refs/tags/", "refs/"].map(|place| format!("{place}{short}")).to_vec(),
    };
    let found = list(line, &candidates).await?;
    let meant = candidates.iter().find_map(|name| found.iter().find(|named| named.name == *name));
    if let Some(named) = meant {
        return Ok(Settled {
            commit: named.peeled.unwrap_or(named.object),
            object: named.object,
            name: named.symbolic.clone().or_else(|| (named.name != "HEAD").then(|| named.name.clone())),
        });
    }
    if reference.is_empty() {
        return Err(failed(line.url(), "the repository is empty: its HEAD is no commit".into()));
    }
    let all = list(line, &["refs/heads/".into(), "refs/tags/".into()]).await?;
    let short = |name: &str| name.splitn(3, '/').nth(2).unwrap_or_default().to_owned();
    let names: Vec<String> = all.iter().map(|named| short(&named.name)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = reference.strip_prefix("refs/").map_or(reference.to_owned(), |_| short(reference));
    let hint = nearest(&asked, &names).map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    let detail = format!(
        "repository does not contain ref {reference}{hint}: expected a branch, a tag or all 40 digits of a commit"
    );
    Err(failed(line.url(), detail))
}

/// The names that begin with one of some.
async fn list(line: &mut Line<'_>, prefixes: &[String]) -> Result<Vec<Named>> {
    let mut arguments = vec!["peel".to_owned(), "symrefs".into()];
    arguments.extend(prefixes.iter().map(|prefix| format!("ref-prefix {prefix}")));
    let url = line.url().to_owned();
    let mut packets = line.command("ls-refs", &arguments).await?;
    let mut names = Vec::new();
    while let Packet::Data(data) = packets.next().await? {
        let wrong = || failed(&url, "the server's list of names is not git's".into());
        if let Some(text) = data.strip_prefix(b"ERR ") {
            return Err(failed(&url, String::from_utf8_lossy(text).trim().to_owned()));
        }
        let text = std::str::from_utf8(&data).map_err(|_| wrong())?;
        let mut words = text.split_whitespace();
        let (id, name) = words.next().zip(words.next()).ok_or_else(wrong)?;
        let mut named = Named {
            name: name.to_owned(),
            // A HEAD that points nowhere yet.
            object: match id {
                "unborn" => continue,
                id => id.parse().map_err(|()| wrong())?,
            },
            peeled: None,
            symbolic: None,
        };
        for word in words {
            match word.split_once(':') {
                Some(("peeled", id)) => named.peeled = Some(id.parse().map_err(|()| wrong())?),
                Some(("symref-target", target)) => named.symbolic = Some(target.to_owned()),
                _ => {}
            }
        }
        if names.len() == MOST {
            return Err(failed(&url, format!("it has more than {MOST} names")));
        }
        names.push(named);
    }
    Ok(names)
}
