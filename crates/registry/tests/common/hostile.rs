//! A registry that does as the test says: an image of one or more layers, and for each request what becomes of its answer.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests share this, and each uses its part"
)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::Digest as _;
use spec::Digest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::from_bytes(sha2::Sha256::digest(bytes).into())
}

/// A gzip layer with a file of so many bytes that do not compress.
pub fn gzip_layer(name: &str, size: usize) -> Vec<u8> {
    let mut tar = store::archive::Writer::new(Vec::new());
    tar.append_bytes(name, 0o644, &crate::common::noise(size, size as u64 + 1)).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, &tar.finish().unwrap()).unwrap();
    gzip.finish().unwrap()
}

/// A request.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Status, headers, body; the length is the body's.
    Whole(u16, Vec<(String, String)>, Vec<u8>),
    /// The same, but so many bytes are announced, whatever comes.
    Lying(u16, Vec<(String, String)>, Vec<u8>, u64),
    /// The same, and the connection stays open after what comes.
    Stuck(u16, Vec<(String, String)>, Vec<u8>, u64),
    /// A byte now and then, and no end.
    Trickle(u64),
    /// The connection is closed without a word.
    Gone,
}

pub fn ok(body: &[u8]) -> Answer {
    Answer::Whole(200, Vec::new(), body.to_vec())
}

pub fn status(status: u16, headers: &[(&str, &str)]) -> Answer {
    let headers = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Answer::Whole(status, headers, Vec::new())
}

type Script = dyn Fn(&Seen) -> Answer + Send + Sync;

/// The registry. All requests are remembered.
pub struct Hostile {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Hostile {
    pub async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (script, remembered): (Arc<Script>, _) = (Arc::new(script), Arc::clone(&seen));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&script), Arc::clone(&remembered)));
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, seen: Arc<Mutex<Vec<Seen>>>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            // A client that is done closes; one that speaks TLS first is not answered.
            match stream.read_u8().await {
                Ok(byte) if head.is_empty() && !byte.is_ascii_uppercase() => return,
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let text = String::from_utf8_lossy(&head).into_owned();
        let mut lines = text.lines();
        let mut words = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers: HashMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()))
            .collect();
        let length = headers.get("content-length").and_then(|l| l.parse::<u64>().ok()).unwrap_or(0);
        let mut body = Vec::new();
        if (&mut stream).take(length).read_to_end(&mut body).await.is_err() {
            return;
        }
        let request = Seen { method: method.into(), target: target.into(), headers, body };
        seen.lock().unwrap().push(request.clone());
        let mut stuck = false;
        let (status, headers, body, announced) = match script(&request) {
            Answer::Whole(status, headers, body) => {
                let length = body.len() as u64;
                (status, headers, body, length)
            }
            Answer::Lying(status, headers, body, announced) => (status, headers, body, announced),
            Answer::Trickle(length) => {
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
                if stream.write_all(head.as_bytes()).await.is_err() {
                    return;
                }
                let mut pace = tokio::time::interval(Duration::from_millis(50));
                while stream.write_all(b"x").await.is_ok() {
                    pace.tick().await;
                }
                return;
            }
            Answer::Stuck(status, headers, body, announced) => {
                stuck = true;
                (status, headers, body, announced)
            }
            Answer::Gone => return,
        };
        let mut answer = format!("HTTP/1.1 {status} Some Reason\r\ncontent-length: {announced}\r\n");
        for (name, value) in headers {
            answer += &format!("{name}: {value}\r\n");
        }
        answer += "\r\n";
        let mut answer = answer.into_bytes();
        let honest = announced == body.len() as u64;
        if request.method != "HEAD" {
            answer.extend(body);
        }
        let sent = stream.write_all(&answer).await.is_ok();
        if sent && stuck {
            // Until the client has gone.
            let _ = stream.read_u8().await;
            return;
        }
        if !sent || !honest {
            return;
        }
    }
}

/// An image as a registry keeps it.
#[derive(Debug, Clone)]
pub struct Shelf {
    pub manifest: Vec<u8>,
    pub blobs: HashMap<Digest, Vec<u8>>,
    pub layers: Vec<Digest>,
    pub config: Digest,
}

impl Shelf {
    /// From gzip layers. Their DiffIDs, sizes and digests are what `adjust` leaves of the right ones.
    pub fn new(
        layers: &[Vec<u8>],
        adjust: impl FnOnce(&mut serde_json::Value, &mut serde_json::Value),
    ) -> Self {
        let mut diff_ids = Vec::new();
        for layer in layers {
            let mut tar = Vec::new();
            std::io::copy(&mut flate2::read::GzDecoder::new(&layer[..]), &mut tar).unwrap();
            diff_ids.push(digest_of(&tar).to_string());
        }
        let mut config = serde_json::json!({
            "architecture": spec::oci::image::Platform::host().architecture, "os": "linux", "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                serde_json::json!({
                    "mediaType": spec::oci::image::media::LAYER_GZIP, "digest": digest_of(layer).to_string(),
                    "size": layer.len(),
                })
            })
            .collect();
        let mut manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": spec::oci::image::media::MANIFEST, "config": {}, "layers": descriptors,
        });
        adjust(&mut manifest, &mut config);
        let config = config.to_string().into_bytes();
        if manifest["config"] == serde_json::json!({}) {
            manifest["config"] = serde_json::json!({
                "mediaType": spec::oci::image::media::CONFIG, "digest": digest_of(&config).to_string(),
                "size": config.len(),
            });
        }
        let mut blobs: HashMap<Digest, Vec<u8>> = layers.iter().map(|l| (digest_of(l), l.clone())).collect();
        let config_digest = digest_of(&config);
        blobs.insert(config_digest, config);
        Self {
            manifest: manifest.to_string().into_bytes(),
            blobs,
            layers: layers.iter().map(|l| digest_of(l)).collect(),
            config: config_digest,
        }
    }

    /// An honest answer, ranges included.
    pub fn answer(&self, seen: &Seen) -> Answer {
        let path = seen.target.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return ok(b"{}");
        }
        if path.contains("/manifests/") {
            let headers = vec![("content-type".into(), spec::oci::image::media::MANIFEST.into())];
            return Answer::Whole(200, headers, self.manifest.clone());
        }
        let digest = path.rsplit('/').next().and_then(|d| d.parse::<Digest>().ok());
        let Some(bytes) = digest.and_then(|d| self.blobs.get(&d)) else { return status(404, &[]) };
        let Some(range) = seen.header("range").strip_prefix("bytes=") else { return ok(bytes) };
        let (from, to) = range.split_once('-').unwrap();
        let from: usize = from.parse().unwrap();
        let to = to.parse().unwrap_or(bytes.len() - 1).min(bytes.len() - 1);
        let headers = vec![("content-range".into(), format!("bytes {from}-{to}/{}", bytes.len()))];
        Answer::Whole(206, headers, bytes[from..=to].to_vec())
    }

    pub fn is_layer(&self, seen: &Seen) -> bool {
        self.layers.iter().any(|layer| seen.target.contains(&layer.to_string()))
    }
}
