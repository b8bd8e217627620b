//! The places that may have an image, each with its session: the one that knew it, then those to fall back to.

use std::sync::Arc;

use spec::api::AuthConfig;
use spec::{ErrorKind, Reference};
use tokio::sync::OnceCell;

use super::hosts::{self, Place};
use super::session::{Intent, Session};
use super::{Client, resolve};
use crate::Error;

/// Where an image may be had.
pub(crate) struct Sources {
    client: Client,
    reference: Reference,
    auth: Option<AuthConfig>,
    places: Vec<(Place, OnceCell<Arc<Session>>)>,
}

impl Sources {
    /// Places to pull from, in the order in which they are asked.
    pub(crate) fn of(
        client: &Client,
        reference: &Reference,
        auth: Option<&AuthConfig>,
    ) -> Result<Self, Error> {
        let transport = &client.transport;
        let places = hosts::places(transport.directories(), &transport.config(), &reference.domain)?;
        let places = places.into_iter().filter(|place| place.pull || place.resolve);
        Ok(Self {
            client: client.clone(),
            reference: reference.clone(),
            auth: auth.cloned(),
            places: places.map(|place| (place, OnceCell::new())).collect(),
        })
    }

    /// Says that another place is asked instead of this one.
    pub(crate) fn pass_over(&self, number: usize, error: &Error) {
        passed_over(&self.places[number].0, error);
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// The session with the place of that number.
    pub(crate) async fn get(&self, number: usize) -> Result<Arc<Session>, Error> {
        let (place, session) = &self.places[number];
        let opened = session.get_or_try_init(|| async {
            let auth = self.auth.as_ref().filter(|_| place.mirror_of.is_none());
            Session::at(&self.client, place, &self.reference, auth, Intent::Pull).await.map(Arc::new)
        });
        opened.await.map(Arc::clone)
    }

    /// Finds who knows what the reference points at. Whoever may not be asked for content, and whoever failed, is left
    /// out from then on.
    pub(crate) async fn find(mut self) -> Result<(Self, resolve::Fetched), Error> {
        let (key, by_digest) = (resolve::key(&self.reference), self.reference.digest.is_some());
        let mut failure = None;
        for number in 0..self.places.len() {
            let place = &self.places[number].0;
            if !(place.resolve || (by_digest && place.pull)) {
                continue;
            }
            let asked = match self.get(number).await {
                Ok(session) => resolve::manifest(&session, &self.reference, &key).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(fetched) => {
                    // Those before it that know content only by its digest are asked first, the others know nothing.
                    let mut at = 0;
                    self.places.retain(|(place, _)| {
                        at += 1;
                        place.pull && (at > number || !place.resolve)
                    });
                    if self.places.is_empty() {
                        break;
                    }
                    return Ok((self, fetched));
                }
                Err(error) => {
                    passed_over(place, &error);
                    failure = Some(error);
                }
            }
        }
        // The last one is the registry itself: what it says is what counts.
        Err(failure.unwrap_or_else(|| Error::Setup {
            step: "pull from",
            object: self.reference.domain.clone(),
            detail: "no host in its hosts.toml may be asked for images".into(),
        }))
    }

    /// Asks one after the other.
    pub(crate) async fn ask<T, F>(&self, ask: impl Fn(Arc<Session>) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut number = 0;
        loop {
            let asked = match self.get(number).await {
                Ok(session) => ask(session).await,
                Err(error) => Err(error),
            };
            match asked {
                Err(error) if number + 1 < self.places.len() => {
                    passed_over(&self.places[number].0, &error);
                    number += 1;
                }
                answer => return answer,
            }
        }
    }
}

/// A mirror that does not have it is as it should be; of one that fails somebody should know, who sees no more of it than that
/// pulls are slow.
fn passed_over(place: &Place, error: &Error) {
    if place.mirror_of.is_none() || error.kind() == ErrorKind::NotFound {
        tracing::debug!(place = place.authority, %error, "the next one is asked");
    } else {
        tracing::warn!(mirror = place.authority, %error, "a mirror failed: the next one is asked");
    }
}
