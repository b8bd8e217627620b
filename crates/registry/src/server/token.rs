//! Bearer tokens (distribution's token specification): signed statements of what their bearer may do where.
//!
//! They come from a service of somebody else's, whose public key is configured, or from this server itself (`/token`),
//! which asks for the password once and gives what the rules allow.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};

use super::config::Action;
use super::storage::Storage;

/// How long a token of ours is good.
const LIFETIME: Duration = Duration::from_secs(300);
/// How far clocks may be apart.
const LEEWAY: u64 = 60;
/// Where this server's own key is, when none is configured.
const KEY: &str = "token-key.pem";
/// The largest token that is read.
const LIMIT: usize = 16 << 10;

/// What may be done with one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) actions: Vec<String>,
}

impl Grant {
    pub(crate) fn covers(&self, kind: &str, name: &str, action: Action) -> bool {
        self.kind == kind && self.name == name && self.actions.iter().any(|a| a == "*" || a == action.text())
    }
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    #[serde(default)]
    sub: String,
    aud: Audience,
    exp: u64,
    #[serde(default)]
    nbf: u64,
    #[serde(default)]
    iat: u64,
    #[serde(default)]
    jti: String,
    #[serde(default)]
    access: Vec<Grant>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Whose tokens are believed, and where to get one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Issuer {
    /// `iss` of the tokens.
    pub(crate) name: String,
    /// `aud` of the tokens: this registry.
    pub(crate) service: String,
    /// Where clients get one; `None`: here.
    pub(crate) realm: Option<String>,
    /// The issuer's public keys or certificates (PEM); for a service here, the private key.
    pub(crate) key: Option<PathBuf>,
}

/// Checks tokens, and makes them if they are made here.
pub(crate) struct Tokens {
    issuer: Issuer,
    keys: Vec<PublicKey>,
    signer: Option<EcdsaKeyPair>,
}

enum PublicKey {
    P256(Vec<u8>),
    Rsa(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl PublicKey {
    fn algorithm(&self) -> &'static str {
        match self {
            Self::P256(_) => "ES256",
            Self::Rsa(_) => "RS256",
            Self::Ed25519(_) => "EdDSA",
        }
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).verify(message, signature)
            }
            Self::Rsa(key) => {
                UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key).verify(message, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(message, signature),
        }
        .is_ok()
    }

    /// From a SubjectPublicKeyInfo: the object identifier of the algorithm tells its kind.
    fn new(info: &[u8]) -> Result<Self, String> {
        type Kind = (&'static [u8], fn(Vec<u8>) -> PublicKey);
        const KINDS: [Kind; 3] = [
            (&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07], PublicKey::P256),
            (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], PublicKey::Rsa),
            (&[0x06, 0x03, 0x2b, 0x65, 0x70], PublicKey::Ed25519),
        ];
        let head = &info[..info.len().min(40)];
        let kind = KINDS.iter().find(|(id, _)| head.windows(id.len()).any(|w| w == *id));
        let (_, make) = kind.ok_or("the key is none of RSA, ECDSA P-256 and Ed25519")?;
        Ok(make(info.to_vec()))
    }
}

impl Tokens {
    /// Believes tokens that somebody else signs.
    pub(crate) fn of_others(issuer: Issuer, path: &Path) -> Result<Self, String> {
        let text = sys::file::read(path).map_err(|e| e.source.to_string())?;
        let mut keys = Vec::new();
        for info in SubjectPublicKeyInfoDer::pem_slice_iter(&text) {
            keys.push(PublicKey::new(&info.map_err(|e| e.to_string())?)?);
        }
        for certificate in CertificateDer::pem_slice_iter(&text) {
            let certificate = certificate.map_err(|e| e.to_string())?;
            let parsed =
                rustls::server::ParsedCertificate::try_from(&certificate).map_err(|e| e.to_string())?;
            keys.push(PublicKey::new(&parsed.subject_public_key_info())?);
        }
        if keys.is_empty() {
            return Err("there is neither a PUBLIC KEY nor a CERTIFICATE in it".into());
        }
        Ok(Self { issuer, keys, signer: None })
    }

    /// Makes tokens here, with the key that is configured, or one of this server's own.
    pub(crate) async fn of_our_own(issuer: Issuer, storage: &Storage) -> Result<Self, String> {
        let text = match &issuer.key {
            Some(path) => sys::file::read(path).map_err(|e| e.source.to_string())?,
            None => match storage.read(KEY).await.map_err(|e| e.to_string())? {
                Some(text) => text,
                None => {
                    let text = new_key()?;
                    storage.write(KEY, text.clone()).await.map_err(|e| e.to_string())?;
                    text.into_bytes()
                }
            },
        };
        let key = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|e| format!("the private key: {e}"))?;
        let signer = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
            .map_err(|e| format!("the private key is none of ECDSA P-256: {e}"))?;
        let keys = vec![PublicKey::P256(signer.public_key().as_ref().to_vec())];
        Ok(Self { issuer, keys, signer: Some(signer) })
    }

    pub(crate) fn is_ours(&self) -> bool {
        self.signer.is_some()
    }

    pub(crate) fn service(&self) -> &str {
        &self.issuer.service
    }

    pub(crate) fn realm(&self, origin: &str) -> String {
        self.issuer.realm.clone().unwrap_or_else(|| format!("{origin}/token"))
    }

    /// Whom a token is for, and what it grants.
    pub(crate) fn verify(&self, token: &str) -> Result<(String, Vec<Grant>), String> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
        }
        let odd = || "the token is not understood".to_owned();
        if token.len() > LIMIT {
            return Err("the token is too large".into());
        }
        let (message, signature) = token.rsplit_once('.').ok_or_else(odd)?;
        let (header, claims) = message.split_once('.').ok_or_else(odd)?;
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(|_| odd());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| odd())?;
        let signature = decode(signature)?;
        // The key decides the algorithm, never the token alone.
        let signed = self
            .keys
            .iter()
            .any(|key| key.algorithm() == header.alg && key.verify(message.as_bytes(), &signature));
        if !signed {
            return Err("the token is not signed by a key that is known here".into());
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| odd())?;
        let addressed = match &claims.aud {
            Audience::One(one) => *one == self.issuer.service,
            Audience::Many(many) => many.contains(&self.issuer.service),
        };
        if claims.iss != self.issuer.name || !addressed {
            return Err("the token is for another service".into());
        }
        let now = now();
        if claims.exp.saturating_add(LEEWAY) < now || claims.nbf > now + LEEWAY {
            return Err("the token has expired, or is not valid yet".into());
        }
        Ok((claims.sub, claims.access))
    }

    /// A token of ours, with its lifetime in seconds.
    pub(crate) fn make(&self, subject: &str, access: Vec<Grant>) -> Option<(String, u64)> {
        let signer = self.signer.as_ref()?;
        let (now, lifetime) = (now(), LIFETIME.as_secs());
        let claims = Claims {
            iss: self.issuer.name.clone(),
            sub: subject.to_owned(),
            aud: Audience::One(self.issuer.service.clone()),
            exp: now + lifetime,
            nbf: now.saturating_sub(10),
            iat: now,
            jti: spec::digest::hex(&sys::random::bytes::<16>()),
            access,
        };
        let claims = serde_json::to_vec(&claims).expect("claims have string keys");
        let header = URL_SAFE_NO_PAD.encode(br#"{"typ":"JWT","alg":"ES256"}"#);
        let message = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims));
        let signature = signer.sign(&SystemRandom::new(), message.as_bytes()).ok()?;
        Some((format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref())), lifetime))
    }
}

fn new_key() -> Result<String, String> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
        .map_err(|e| e.to_string())?;
    let text = base64::engine::general_purpose::STANDARD.encode(key.as_ref());
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).expect("base64 is ASCII")).collect();
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n")))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The scopes of a request for a token: `repository:team/app:pull,push`, several apart by spaces.
pub(crate) fn scopes(text: &str) -> Vec<Grant> {
    let scope = |text: &str| {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        let kind = kind.split('(').next()?.to_owned();
        let actions = actions.split(',').filter(|a| !a.is_empty()).map(str::to_owned).collect();
        Some(Grant { kind, name: name.to_owned(), actions })
    };
    text.split(' ').filter_map(scope).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::storage::Files;

    fn issuer() -> Issuer {
        Issuer { name: "corten".into(), service: "registry".into(), realm: None, key: None }
    }

    #[tokio::test]
    async fn another_services_tokens_are_believed_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate =
            rcgen::CertificateParams::new(["x".to_owned()]).unwrap().self_signed(&pair).unwrap();
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            sys::file::write_atomic(&path, text.as_bytes(), 0o600, sys::file::Durability::Process).unwrap();
            path
        };
        let private = Issuer { key: Some(write("private", pair.serialize_pem())), ..issuer() };
        let storage = Storage::Files(Files::open_root(&directory.path().join("storage")).unwrap());
        let service = Tokens::of_our_own(private, &storage).await.unwrap();
        let (token, _) = service.make("ada", Vec::new()).unwrap();
        for text in [pair.public_key_pem(), certificate.pem()] {
            let tokens = Tokens::of_others(issuer(), &write("public", text)).unwrap();
            assert_eq!(tokens.verify(&token).unwrap().0, "ada");
        }
        let other = rcgen::KeyPair::generate().unwrap().public_key_pem();
        assert!(Tokens::of_others(issuer(), &write("other", other)).unwrap().verify(&token).is_err());
        assert!(Tokens::of_others(issuer(), &write("none", "nothing".into())).is_err());
    }

    #[tokio::test]
    async fn a_token_says_what_was_signed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let storage = Storage::Files(Files::open_root(directory.path()).unwrap());
        let tokens = Tokens::of_our_own(issuer(), &storage).await.unwrap();
        let grant = scopes("repository:a/b:pull,push").remove(0);
        let (token, _) = tokens.make("ada", vec![grant.clone()]).unwrap();
        assert_eq!(tokens.verify(&token).unwrap(), ("ada".into(), vec![grant.clone()]));
        assert!(grant.covers("repository", "a/b", Action::Push));
        assert!(!grant.covers("repository", "a/b", Action::Delete));
        assert!(!grant.covers("repository", "a/bc", Action::Pull));

        // The same key after a restart, another one elsewhere.
        let again = Tokens::of_our_own(issuer(), &storage).await.unwrap();
        assert!(again.verify(&token).is_ok());
        let elsewhere = tempfile::tempdir().unwrap();
        let elsewhere = Storage::Files(Files::open_root(elsewhere.path()).unwrap());
        assert!(Tokens::of_our_own(issuer(), &elsewhere).await.unwrap().verify(&token).is_err());
        let other = Issuer { service: "x".into(), ..issuer() };
        assert!(Tokens::of_our_own(other, &storage).await.unwrap().verify(&token).is_err());

        let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
        let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
        parts[1] = URL_SAFE_NO_PAD.encode(claims.replace("a/b", "a/c"));
        assert!(tokens.verify(&parts.join(".")).is_err());
        let unsigned = URL_SAFE_NO_PAD.encode(br#"{"alg":"none"}"#);
        for bad in ["", "x", "a.b", "a.b.c", &format!("{unsigned}.{}.", parts[1]), &"x".repeat(LIMIT + 1)] {
            assert!(tokens.verify(bad).is_err(), "{bad}");
        }
    }
}
