//! Credentials are checked.

use http::{HeaderMap, Method};
use spec::api::AuthConfig;

use super::session::Session;
use super::{Client, host};
use crate::Error;

pub(crate) async fn login(client: &Client, auth: &AuthConfig) -> Result<String, Error> {
    let host = host::of_server_address(&auth.serveraddress);
    let session = Session::with_registry(client, host, auth).await?;
    let answer = session.get(Method::GET, &session.root(), HeaderMap::new()).await?;
    if !answer.status.is_success() {
        return Err(session.failure(answer).await);
    }
    answer.discard().await;
    Ok("Login Succeeded".to_owned())
}
