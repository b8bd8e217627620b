//! Search: a registry is asked, and its answer filtered.

use spec::Filters;
use spec::api::{AuthConfig, SearchResult};

use crate::{Engine, Error};

/// What is asked for without a limit, and the most that may be.
const DEFAULT_LIMIT: i64 = 25;
const MAX_LIMIT: i64 = 100;

impl Engine {
    /// `GET /images/search`; a limit of 0 is the default.
    pub async fn search(
        &self,
        term: &str,
        limit: i64,
        filters: &Filters,
        auth: Option<AuthConfig>,
    ) -> Result<Vec<SearchResult>, Error> {
        let official = switch(filters, "is-official")?;
        let automated = switch(filters, "is-automated")?;
        let mut stars = 0;
        for text in filters.get("stars") {
            let wanted: i64 =
                text.parse().map_err(|_| Error::Invalid(format!("invalid filter 'stars={text}'")))?;
            stars = stars.max(wanted);
        }
        let limit = if limit == 0 { DEFAULT_LIMIT } else { limit };
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(Error::Invalid(format!("limit {limit} is outside the range of [1, {MAX_LIMIT}]")));
        }
        if term.is_empty() || term.contains("://") {
            return Err(Error::Invalid(format!("invalid search term {term:?}: use [HOST[:PORT]/]TERM")));
        }
        let limit = u32::try_from(limit).expect("between 1 and 100");
        let mut found = self.inner.registry.search(term, limit, auth.as_ref()).await?;
        found.retain(|image| {
            official.is_none_or(|wanted| image.is_official == wanted)
                // Nothing is built by the hub any more, whatever it says.
                && automated != Some(true)
                && image.star_count >= stars
        });
        for image in &mut found {
            image.is_automated = false;
        }
        Ok(found)
    }
}

/// A filter that is on or off.
fn switch(filters: &Filters, key: &str) -> Result<Option<bool>, Error> {
    let mut wanted = None;
    for text in filters.get(key) {
        wanted = match text.as_str() {
            "1" | "true" => Some(true),
            "0" | "false" => Some(false),
            _ => return Err(Error::Invalid(format!("invalid filter '{key}={text}'"))),
        };
    }
    Ok(wanted)
}
