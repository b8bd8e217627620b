//! `cortend registry ask`: registries, for the command line, without an engine (see [`spec::registry`]).

use std::io::{Read as _, Write as _};

use ::registry::client::{Client, Config, Proxies};
use serde::Serialize;
use serde_json::Value;
use spec::Reference;
use spec::registry::{Ask, Found, Told, Verb};
use tokio::sync::mpsc;

use crate::error::chain;

/// The longest question: a manifest and some words.
const LIMIT: u64 = 8 << 20;

/// Answers the question on standard input.
///
/// # Errors
/// It cannot be read, or the answer cannot be written; all else is in the answer.
pub async fn ask() -> std::io::Result<()> {
    let mut text = String::new();
    std::io::stdin().lock().take(LIMIT).read_to_string(&mut text)?;
    let (progress, mut lines) = mpsc::channel(64);
    let work = async move {
        let ask =
            serde_json::from_str::<Ask>(&text).map_err(|e| format!("the question cannot be read: {e}"))?;
        answer(ask, progress).await
    };
    let telling = async {
        while let Some(line) = lines.recv().await {
            tell(&Told::Progress(line))?;
        }
        Ok::<_, std::io::Error>(())
    };
    let (answer, told) = tokio::join!(work, telling);
    told?;
    tell(&answer.map_or_else(Told::Failed, Told::Done))
}

fn tell(line: &Told) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    let mut out = std::io::stdout().lock();
    out.write_all(&text)?;
    out.flush()
}

fn reference(text: &str) -> Result<Reference, String> {
    text.parse::<Reference>().map(Reference::or_latest).map_err(|e| format!("{e}: {text:?}"))
}

async fn answer(ask: Ask, progress: mpsc::Sender<spec::api::Progress>) -> Result<Value, String> {
    let Ask { verb, reference: name, auth, insecure } = ask;
    let (name, auth) = (reference(&name)?, auth.as_ref());
    let client = client(insecure.then_some(&name), &verb)?;
    let words = |error: ::registry::Error| chain(&error);
    let value = match verb {
        Verb::Manifest => {
            let (descriptor, bytes) = client.manifest(&name, auth).await.map_err(words)?;
            value(&Found { descriptor, bytes: String::from_utf8_lossy(&bytes).into_owned() })
        }
        Verb::Blob(blob) => {
            let bytes = client.blob(&name, &blob, auth).await.map_err(words)?;
            Value::String(String::from_utf8_lossy(&bytes).into_owned())
        }
        Verb::Put { media_type, bytes } => {
            value(&client.put_manifest(&name, &media_type, bytes.into(), auth).await.map_err(words)?)
        }
        Verb::Copy { to, to_auth } => {
            let to = reference(&to)?;
            let copied = client.copy((&name, auth), (&to, to_auth.as_ref()), progress).await;
            value(&copied.map_err(words)?)
        }
        Verb::Referrers { kind } => value(&client.referrers(&name, &kind, auth).await.map_err(words)?),
    };
    Ok(value)
}

fn value(object: &impl Serialize) -> Value {
    serde_json::to_value(object).expect("plain data serialises")
}

/// A client with the environment's proxies.
fn client(insecure: Option<&Reference>, verb: &Verb) -> Result<Client, String> {
    let proxies = Proxies::of_environment(|name| std::env::var(name).ok());
    let mut config = Config { proxies, ..Config::default() };
    if let Some(name) = insecure {
        config.insecure.push(name.domain.clone());
        if let Verb::Copy { to, .. } = verb {
            config.insecure.push(reference(to)?.domain);
        }
    }
    Ok(Client::new(config))
}
