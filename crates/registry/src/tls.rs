//! Certificates and trust. One provider (aws-lc-rs), chosen here and nowhere else.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InvalidMessage, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::client::Trust;

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// How a client trusts one registry: the host's roots and what `directories/<host>` (`*.crt` roots; `*.cert` and `*.key` of
/// the client) and hosts.toml add. A registry that need not be verified is not.
///
/// # Errors
/// A file cannot be read as what it is.
pub(crate) fn client(
    host: &str,
    directories: &[PathBuf],
    trust: &Trust,
    verify: bool,
) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let own: Vec<PathBuf> = directories.iter().map(|d| d.join(host)).filter(|d| d.is_dir()).collect();
    let trusted = if verify { Some(trusted(&own, &trust.roots)?) } else { None };
    let verifier = Verifier { provider: provider(), trusted };
    let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
    let identity = match &trust.identity {
        Some(identity) => Some(identity.clone()),
        None => own.iter().map(|d| identity(d)).find_map(Result::transpose).transpose()?,
    };
    let mut config = match identity {
        Some((chain, key)) => builder
            .with_client_auth_cert(certificates(&chain)?, private_key(&key)?)
            .map_err(|e| format!("{}: {e}", chain.display()))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn trusted(directories: &[PathBuf], more: &[PathBuf]) -> Result<Trusted, String> {
    // The host's own are read once: there are many.
    static HOST: OnceLock<RootCertStore> = OnceLock::new();
    let mut roots = HOST
        .get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // Some may be unreadable or odd; the others still count.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots
        })
        .clone();
    let mut named = Vec::new();
    for path in directories.iter().flat_map(|d| files(d, "crt")).chain(more.iter().cloned()) {
        named.extend(certificates(&path)?);
    }
    roots.add_parsable_certificates(named.iter().cloned());
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|e| e.to_string())?;
    Ok(Trusted { chains, named })
}

/// Why a connection by TLS does not stand, in the words that Docker's users look for.
pub(crate) fn failure(error: &std::io::Error) -> String {
    use CertificateError as Why;
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>());
    let invalid = match inner {
        None => return format!("TLS: {error}"),
        Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            return "http: server gave HTTP response to HTTPS client".into();
        }
        Some(rustls::Error::InvalidCertificate(invalid)) => invalid,
        Some(other) => return format!("TLS: {other}"),
    };
    let why = match invalid {
        Why::UnknownIssuer | Why::BadSignature => "certificate signed by unknown authority".into(),
        _ if is_authority(invalid) => "certificate signed by unknown authority".into(),
        Why::Expired | Why::ExpiredContext { .. } | Why::NotValidYet | Why::NotValidYetContext { .. } => {
            format!("certificate has expired or is not yet valid: {}", invalid)
        }
        // A certificate that has its name only as its subject's has none: so they were made until 2000.
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            format!("{invalid} (subjectAltName counts, not the common name)")
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// Whether a certificate is good, but for being an authority's that shows up as a server's own.
fn is_authority(error: &CertificateError) -> bool {
    let CertificateError::Other(other) = error else { return false };
    other.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

/// Whether a directory of certs.d says which roots count.
pub(crate) fn has_roots(directory: &Path) -> bool {
    !files(directory, "crt").is_empty()
}

/// A client certificate beside its key (Docker's words when one is missing).
fn identity(directory: &Path) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let Some(chain) = files(directory, "cert").into_iter().next() else {
        return match files(directory, "key").first() {
            None => Ok(None),
            Some(key) => Err(format!(
                "missing client certificate {} for key {}",
                key.with_extension("cert").display(),
                key.display()
            )),
        };
    };
    let key = chain.with_extension("key");
    if key.exists() {
        return Ok(Some((chain, key)));
    }
    Err(format!(
        "missing key {} for client certificate {}. CA certificates must use the extension .crt",
        key.display(),
        chain.display()
    ))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}

/// A server's certificate and key.
///
/// # Errors
/// A file cannot be read as what it is, or the two do not belong together.
pub(crate) fn server(chain: &Path, key: &Path) -> Result<Arc<ServerConfig>, String> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_no_client_auth()
        .with_single_cert(certificates(chain)?, private_key(key)?)
        .map_err(|e| format!("{}: {e}", chain.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().map_err(|e| format!("{}: {e}", path.display()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|e| format!("{}: {e}", path.display()))
}

/// What a registry may show to be believed: what the roots vouch for, and a certificate that the user named itself (`openssl req
/// -x509` makes an authority's, and many registries show just that).
#[derive(Debug)]
struct Trusted {
    chains: Arc<WebPkiServerVerifier>,
    /// What certs.d and hosts.toml name.
    named: Vec<CertificateDer<'static>>,
}

/// Looks at the certificates of registries.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    /// None takes any certificate: for registries the user called insecure, and loopback ones.
    trusted: Option<Trusted>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(Trusted { chains, named }) = &self.trusted else {
            return Ok(ServerCertVerified::assertion());
        };
        let verified = chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match &verified {
            // Its time was looked at before its being an authority; its name was not.
            Err(rustls::Error::InvalidCertificate(why))
                if is_authority(why) && named.iter().any(|named| named == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            Ok(_) | Err(_) => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
