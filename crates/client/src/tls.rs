//! TLS to an engine: mutual, with certificates of the user's own, as Docker's `--tlsverify` has it.

use std::io;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Certificates, each as the text of its PEM file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tls {
    /// Who may have signed the engine's certificate; the machine's own roots if nobody is named.
    pub ca: Option<Vec<u8>>,
    /// What this client shows to the engine.
    pub certificate: Option<Vec<u8>>,
    /// The key of `certificate`.
    pub key: Option<Vec<u8>>,
    /// Takes any certificate of the engine's.
    pub skip_verify: bool,
}

/// Opens TLS on a connection to `address` (`host:port`).
pub(crate) async fn connect(tls: &Tls, address: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let config = config(tls).map_err(|what| io::Error::new(io::ErrorKind::InvalidInput, what))?;
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "not a name a certificate can have"))?;
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// Whether a connection broke because the other side does not take this client's certificate.
pub(crate) fn is_refusal(error: &hyper::Error) -> bool {
    use rustls::AlertDescription as Alert;

    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    let inner = io.and_then(io::Error::get_ref).and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(
        inner,
        Some(rustls::Error::AlertReceived(
            Alert::BadCertificate
                | Alert::CertificateRequired
                | Alert::UnknownCA
                | Alert::CertificateUnknown
                | Alert::HandshakeFailure
        ))
    )
}

fn config(tls: &Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = if tls.skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(Unverified(provider)))
    } else {
        builder.with_root_certificates(roots(tls.ca.as_deref())?)
    };
    match (&tls.certificate, &tls.key) {
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate, "cert.pem")?, private_key(key)?)
            .map_err(|error| format!("cert.pem and key.pem: {error}")),
        (None, None) => Ok(builder.with_no_client_auth()),
        (Some(_), None) => Err("there is a cert.pem, but no key.pem".into()),
        (None, Some(_)) => Err("there is a key.pem, but no cert.pem".into()),
    }
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            roots.add_parsable_certificates(certificates(pem, "ca.pem")?);
            if roots.is_empty() {
                return Err("ca.pem seems invalid: it has no certificate of an authority".into());
            }
        }
        // Some of the machine's roots may be unreadable or odd; the others still count.
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    read.map_err(|error| format!("{name} seems invalid: {error}"))
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| format!("key.pem seems invalid: {error}"))
}

/// Takes any certificate: `--tls` without `--tlsverify`.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
