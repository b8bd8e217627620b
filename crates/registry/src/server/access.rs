//! Who somebody is, and what they may do where.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::config::{Action, Rule};
use super::digest::Digest;
use super::refusal::{Code, Refusal};
use super::route::Name;
use super::token::{Grant, Tokens};
use super::users::{self, Users};

/// Somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    Anonymous,
    User(String),
    /// What a token says, whoever brings it.
    Bearer {
        subject: String,
        access: Vec<Grant>,
    },
}

impl Identity {
    /// The name for records; empty for nobody in particular.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anonymous => "",
            Self::User(name) | Self::Bearer { subject: name, .. } => name,
        }
    }
}

/// All about rights. Read anew with the configuration.
pub(crate) struct Access {
    pub(crate) users: Option<Users>,
    pub(crate) tokens: Option<Tokens>,
    pub(crate) rules: Vec<Rule>,
    pub(crate) groups: std::collections::BTreeMap<String, Vec<String>>,
}

/// The text of a refusal for want of credentials.
const REQUIRED: &str = "authentication required";

impl Access {
    /// Who sent these headers. Credentials that are wrong are refused, whatever somebody without any might do.
    pub(crate) async fn identify(&self, headers: &HeaderMap) -> Result<Identity, Refusal> {
        let Some(value) = headers.get(AUTHORIZATION) else { return Ok(Identity::Anonymous) };
        let unauthorized = |why: String| Refusal::new(Code::Unauthorized, why);
        let text = value.to_str().unwrap_or_default();
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        if scheme.eq_ignore_ascii_case("bearer")
            && let Some(tokens) = &self.tokens
        {
            let (subject, access) = tokens.verify(rest.trim()).map_err(unauthorized)?;
            return Ok(Identity::Bearer { subject, access });
        }
        match (&self.users, users::credentials(value)) {
            (Some(users), Some((user, password))) if users.admit(&user, &password).await => {
                Ok(Identity::User(user))
            }
            // Nobody is asked for anything: what a client brings along does not count.
            (None, _) if self.tokens.is_none() => Ok(Identity::Anonymous),
            _ => Err(unauthorized(REQUIRED.into())),
        }
    }

    /// Whether anybody could be anyone.
    pub(crate) fn is_open(&self) -> bool {
        self.users.is_none() && self.tokens.is_none()
    }

    pub(crate) fn may(&self, identity: &Identity, name: &Name, action: Action) -> bool {
        let user = match identity {
            Identity::Bearer { access, .. } => {
                return access.iter().any(|grant| grant.covers("repository", name.as_str(), action));
            }
            Identity::Anonymous => None,
            Identity::User(user) => Some(user.as_str()),
        };
        if self.rules.is_empty() {
            return self.is_open() || user.is_some();
        }
        self.rules.iter().any(|rule| {
            let concerned = rule.anonymous
                || user.is_some_and(|user| {
                    rule.users.iter().any(|u| u == user || u == "*")
                        || rule.groups.iter().any(|group| {
                            self.groups.get(group).is_some_and(|members| members.iter().any(|m| m == user))
                        })
                });
            concerned
                && rule.allow.contains(&action)
                && rule.repositories.iter().any(|pattern| match user {
                    Some(user) => pattern.of_user(user).is_some_and(|p| p.matches(name.as_str())),
                    None => pattern.matches(name.as_str()),
                })
        })
    }

    /// Whether they may see the list of repositories: of each one that they may pull.
    pub(crate) fn may_list(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Bearer { access, .. } => {
                access.iter().any(|grant| grant.kind == "registry" && grant.name == "catalog")
            }
            Identity::User(_) => true,
            Identity::Anonymous => self.is_open() || self.rules.iter().any(|rule| rule.anonymous),
        }
    }

    /// Fails with what the client can do about it: bring (other) credentials, or nothing.
    pub(crate) fn check(&self, identity: &Identity, name: &Name, actions: &[Action]) -> Result<(), Refusal> {
        if actions.iter().all(|action| self.may(identity, name, *action)) {
            return Ok(());
        }
        match identity {
            Identity::User(_) => {
                let text = format!("requested access to the resource is denied: {}", name.as_str());
                Err(Refusal::new(Code::Denied, text))
            }
            Identity::Anonymous if self.is_open() => {
                Err(Refusal::new(Code::Denied, "requested access to the resource is denied"))
            }
            Identity::Anonymous | Identity::Bearer { .. } => Err(Refusal::new(Code::Unauthorized, REQUIRED)),
        }
    }

    /// What a client without sufficient credentials is told to bring.
    pub(crate) fn challenge(&self, origin: &str, scope: Option<&str>, insufficient: bool) -> HeaderValue {
        let text = match &self.tokens {
            None => r#"Basic realm="Corten Registry""#.to_owned(),
            Some(tokens) => {
                let mut text =
                    format!(r#"Bearer realm="{}",service="{}""#, tokens.realm(origin), tokens.service());
                if let Some(scope) = scope {
                    text.push_str(&format!(r#",scope="{scope}""#));
                }
                if insufficient {
                    text.push_str(r#",error="insufficient_scope""#);
                }
                text
            }
        };
        // A Host header with odd bytes leads to a realm that is none; the client sees a plain refusal.
        HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

/// Tells two sets of credentials apart without keeping them.
pub(super) fn fingerprint(user: &str, password: &str) -> Digest {
    Digest::of(format!("{}:{user}:{password}", user.len()).as_bytes())
}
