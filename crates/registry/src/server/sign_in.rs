//! `/token`: passwords in, tokens out (distribution's token and OAuth2 specifications).

use http::header::{AUTHORIZATION, CACHE_CONTROL, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use serde_json::json;

use super::Caller;
use super::access::Identity;
use super::body::{self, Body, Sent};
use super::config::Action;
use super::refusal::{Code, Refusal};
use super::repository::Result;
use super::route::{Name, decode, parameter};
use super::token::{Grant, Tokens, scopes};
use super::users;

/// The largest form.
const LIMIT: usize = 16 << 10;

pub(super) async fn answer(caller: &Caller, parts: &Parts, sent: &mut Sent) -> Response<Body> {
    let mut response = match grant(caller, parts, sent).await {
        Ok(response) => response,
        Err(refusal) => {
            let unauthorized = refusal.code() == Code::Unauthorized;
            let mut response = refusal.into_response();
            if unauthorized {
                let challenge = HeaderValue::from_static(r#"Basic realm="Corten Registry""#);
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn grant(caller: &Caller, parts: &Parts, sent: &mut Sent) -> Result<Response<Body>> {
    let Some(tokens) = caller.access.tokens.as_ref().filter(|tokens| tokens.is_ours()) else {
        return Err(Refusal::new(Code::NameUnknown, "no such page"));
    };
    let refused = |why: &str| Refusal::new(Code::Unauthorized, why);
    let (asked, credentials) = match parts.method {
        Method::GET => {
            let credentials = parts.headers.get(AUTHORIZATION).map(users::credentials);
            let credentials = match credentials {
                Some(None) => return Err(refused("expected a user's name and password")),
                credentials => credentials.flatten(),
            };
            (parts.uri.query().unwrap_or_default().to_owned(), credentials)
        }
        Method::POST => {
            let form = sent.bytes(LIMIT).await?;
            let form = String::from_utf8_lossy(&form).replace('+', "%20");
            if parameter(&form, "grant_type").as_deref() != Some("password") {
                return Err(refused("only grant_type=password is done here"));
            }
            let credentials = parameter(&form, "username").zip(parameter(&form, "password"));
            (form, credentials)
        }
        _ => return Err(Refusal::new(Code::Unsupported, "ask with GET or POST")),
    };
    if parameter(&asked, "service").is_some_and(|service| service != tokens.service()) {
        return Err(refused("this is the token service of another registry"));
    }
    let identity = match credentials {
        None => Identity::Anonymous,
        Some((user, password)) => match &caller.access.users {
            Some(users) if users.admit(&user, &password).await => Identity::User(user),
            _ => return Err(refused("incorrect username or password")),
        },
    };
    let wanted = asked.split('&').filter_map(|pair| pair.strip_prefix("scope=")).map(decode);
    let wanted: Vec<Grant> = wanted.flat_map(|text| scopes(&text)).collect();
    let access: Vec<Grant> =
        wanted.into_iter().filter_map(|grant| granted(caller, &identity, grant)).collect();
    if identity == Identity::Anonymous && !caller.access.rules.iter().any(|rule| rule.anonymous) {
        return Err(refused("authentication required"));
    }
    issue(tokens, &identity, access)
}

/// What of a request for rights somebody has.
fn granted(caller: &Caller, identity: &Identity, mut wanted: Grant) -> Option<Grant> {
    match (wanted.kind.as_str(), wanted.name.as_str()) {
        ("repository", name) => {
            let name = Name::parse(name)?;
            let all = wanted.actions.iter().any(|action| action == "*");
            let may = |action: &Action| {
                (all || wanted.actions.iter().any(|wanted| wanted == action.text()))
                    && caller.access.may(identity, &name, *action)
            };
            let actions = [Action::Pull, Action::Push, Action::Delete].into_iter().filter(may);
            wanted.actions = actions.map(|action| action.text().to_owned()).collect();
        }
        ("registry", "catalog") if caller.access.may_list(identity) => {}
        _ => return None,
    }
    (!wanted.actions.is_empty()).then_some(wanted)
}

fn issue(tokens: &Tokens, identity: &Identity, access: Vec<Grant>) -> Result<Response<Body>> {
    let failed = || Refusal::new(Code::Unknown, "the token could not be signed");
    let (token, lifetime) = tokens.make(identity.name(), access).ok_or_else(failed)?;
    let issued = jiff::Timestamp::now().to_string();
    let answer =
        json!({ "token": token, "access_token": token, "expires_in": lifetime, "issued_at": issued });
    Ok(body::json(StatusCode::OK, &answer))
}
