//! A web server of the test's own, on the loopback of a host: it answers as the test says, and tells what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use crate::{Host, relay};

/// What is asked.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
    /// All of it.
    pub body: Vec<u8>,
}

/// What is answered.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    /// 200 and the like.
    pub status: u16,
    /// Beside the length.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl Answer {
    /// A good one.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, body: body.into(), ..Self::default() }
    }

    /// One without a body.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// With a header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The server. It stays until the test's process ends.
#[derive(Debug)]
pub struct Web {
    /// Where it listens, in the host's network.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, u16)>>>,
}

impl Web {
    /// A server that answers by `handler`.
    pub fn new(host: &Host, handler: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = relay::listen(host);
        let address = listener.local_addr().expect("an address");
        let (handler, asked) = (Arc::new(handler), Arc::new(Mutex::new(Vec::new())));
        let told = Arc::clone(&asked);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (handler, told) = (Arc::clone(&handler), Arc::clone(&told));
                std::thread::spawn(move || serve(&client, &*handler, &told));
            }
        });
        Self { address, asked }
    }

    /// `http://127.0.0.1:…/` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// What it was asked since the last time: path and status of the answer.
    pub fn asked(&self) -> Vec<(String, u16)> {
        std::mem::take(&mut *self.asked.lock().expect("the list"))
    }
}

/// Answers for git repositories below a directory (git-http-backend's part of it).
pub fn repositories(root: &Path, request: &Request) -> Answer {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let (repository, what) = match (path.strip_suffix("/info/refs"), path.strip_suffix("/git-upload-pack")) {
        (Some(path), _) if query == "service=git-upload-pack" => (path, "--http-backend-info-refs"),
        (_, Some(path)) => (path, "--stateless-rpc"),
        _ => return Answer::status(404),
    };
    let directory = root.join(repository.trim_start_matches('/'));
    if !directory.is_dir() {
        return Answer::status(404);
    }
    let mut child = std::process::Command::new("git")
        .args(["upload-pack", "--stateless-rpc"])
        .args((what != "--stateless-rpc").then_some(what))
        .arg(&directory)
        .env("GIT_PROTOCOL", request.headers.get("git-protocol").map_or("", String::as_str))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("git upload-pack");
    child.stdin.take().expect("piped").write_all(&request.body).expect("its input");
    let output = child.wait_with_output().expect("its end");
    Answer::ok(output.stdout)
}

fn serve(
    client: &TcpStream,
    handler: &(dyn Fn(&Request) -> Answer + Send + Sync),
    asked: &Mutex<Vec<(String, u16)>>,
) {
    let mut reader = BufReader::new(client);
    // A client that goes away is no fault of the test's.
    while let Some(request) = read(&mut reader) {
        let answer = handler(&request);
        asked.lock().expect("the list").push((request.path.clone(), answer.status));
        let mut head =
            format!("HTTP/1.1 {} Test\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut writer = client;
        if writer.write_all(head.as_bytes()).and_then(|()| writer.write_all(&answer.body)).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace();
    let mut request =
        Request { method: words.next()?.into(), path: words.next()?.into(), ..Request::default() };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let length = request.headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    request.body = vec![0; length];
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}
