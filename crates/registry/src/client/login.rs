//! Credentials are checked, and exchanged for a token that stands in for them where the registry gives one.

use http::header::WWW_AUTHENTICATE;
use http::{HeaderMap, Method};
use spec::api::{AuthConfig, AuthResponse};

use super::challenge::{self, Challenge};
use super::session::Session;
use super::transport::Url;
use super::{Client, host};
use crate::Error;

pub(crate) async fn login(client: &Client, auth: &AuthConfig) -> Result<AuthResponse, Error> {
    let host = host::of_server_address(&auth.serveraddress);
    let session = Session::with_registry(client, host, auth).await?;
    let root = session.root();
    let answer = session.get(Method::GET, &root, HeaderMap::new()).await?;
    if !answer.status.is_success() {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    let identity_token = identity(client, &session, &root, auth).await?;
    Ok(AuthResponse { status: "Login Succeeded".to_owned(), identity_token })
}

/// The registry's token for later; empty when it has none to give.
async fn identity(
    client: &Client,
    session: &Session,
    root: &Url,
    auth: &AuthConfig,
) -> Result<String, Error> {
    if !auth.identitytoken.is_empty() || challenge::user_and_password(auth).is_none() {
        return Ok(auth.identitytoken.clone());
    }
    // What it asks for is only told to who comes with nothing.
    let transport = &client.transport;
    let bare = transport.send(Method::GET, root, HeaderMap::new(), super::message::Body::empty()).await?;
    let challenges = bare.headers.get_all(WWW_AUTHENTICATE);
    let wanted = challenges.iter().find_map(|v| match challenge::parse(v.to_str().ok()?)? {
        Challenge::Bearer { realm, service, scope } => Some((realm, service, scope)),
        Challenge::Basic => None,
    });
    bare.discard().await;
    let Some((realm, service, scope)) = wanted else { return Ok(String::new()) };
    Ok(session.token(&realm, &service, &scope, true).await?.refresh_token)
}
