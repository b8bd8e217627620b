//! TLS on TCP: this daemon's certificate, and the clients' when they are verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Where certificates and keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// Only clients in whose certificate the CA has signed may come in.
    pub verify: bool,
    /// The CA.
    pub ca: PathBuf,
    /// This daemon's chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("could not load {what} {}: {detail}", path.display())]
pub struct Error {
    what: &'static str,
    path: PathBuf,
    detail: String,
}

impl Files {
    /// What the directives mean. `tlsverify` asks for TLS whatever it says, as in Docker; CA, certificate and key are by
    /// default in `$DOCKER_CERT_PATH`, else in `~/.docker`.
    pub(crate) fn new(
        verify: Option<bool>,
        tls: Option<bool>,
        [ca, cert, key]: [Option<String>; 3],
        env: &impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        if verify.is_none() && tls != Some(true) {
            return None;
        }
        let home = || PathBuf::from(env("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
        let directory = env("DOCKER_CERT_PATH").map_or_else(home, PathBuf::from);
        let path = |given: Option<String>, name: &str| {
            given.filter(|p| !p.is_empty()).map_or_else(|| directory.join(name), PathBuf::from)
        };
        Some(Self {
            verify: verify == Some(true),
            ca: path(ca, "ca.pem"),
            cert: path(cert, "cert.pem"),
            key: path(key, "key.pem"),
        })
    }

    /// Reads the files. HTTP/2 and HTTP/1.1 are offered (ALPN).
    ///
    /// # Errors
    /// A file cannot be read as what it is, or certificate and key do not belong together.
    pub fn load(&self) -> Result<TlsAcceptor, Error> {
        let error = |what, path: &Path| {
            let path = path.to_owned();
            move |detail: String| Error { what, path, detail }
        };
        let chain = certificates(&self.cert).map_err(error("the certificate", &self.cert))?;
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| error("the key", &self.key)(e.to_string()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has the cipher suites of its own defaults");
        let builder = if self.verify {
            let failed = || error("the CA", &self.ca);
            let mut roots = RootCertStore::empty();
            for certificate in certificates(&self.ca).map_err(failed())? {
                roots.add(certificate).map_err(|e| failed()(e.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|e| failed()(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|e| error("the certificate", &self.cert)(e.to_string()))?;
        config.alpn_protocols = crate::server::ALPN.map(<[u8]>::to_vec).into();
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    let certificates = read().map_err(|e| e.to_string())?;
    if certificates.is_empty() { Err("it holds no certificate".into()) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tlsverify_asks_for_tls_whatever_it_says() {
        let env = |name: &str| (name == "HOME").then(|| "/home/x".to_owned());
        let files = |verify, tls| Files::new(verify, tls, [None, Some("/c".into()), None], &env);
        assert_eq!(files(None, None), None);
        assert_eq!(files(None, Some(false)), None);
        assert!(!files(Some(false), None).unwrap().verify);
        let verified = files(Some(true), Some(false)).unwrap();
        assert!(verified.verify);
        assert_eq!((verified.ca, verified.cert), ("/home/x/.docker/ca.pem".into(), "/c".into()));
    }
}
