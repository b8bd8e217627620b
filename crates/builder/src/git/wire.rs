//! Packets and commands (gitprotocol-v2): over http(s) each command is a request, over git:// they share a connection.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use registry::client::{Client, Download};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Oid, failed};
use crate::error::Result;

/// Where git:// is served when the address does not say.
const PORT: u16 = 9418;
/// A server that says nothing for this long is given up.
const SILENCE: Duration = Duration::from_secs(60);
/// More than this is no source of a build's.
const LARGEST: u64 = 16 << 30;
/// The longest packet.
const LONGEST: usize = 65520;

/// A way to one repository's server.
pub(super) struct Line<'c> {
    url: String,
    way: Way<'c>,
}

enum Way<'c> {
    Http { client: &'c Client, authorization: Option<String> },
    Tcp(TcpStream),
}

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Data(Vec<u8>),
    /// The end of an answer.
    Flush,
    /// The end of one of its sections.
    Delimiter,
}

/// An answer, packet by packet.
pub(super) struct Packets<'l> {
    url: &'l str,
    source: Source<'l>,
    have: Vec<u8>,
    at: usize,
}

enum Source<'l> {
    Http(Box<Download>),
    Tcp(&'l mut TcpStream),
}

impl<'c> Line<'c> {
    /// Connects, and checks that the server speaks version 2.
    pub(super) async fn open(client: &'c Client, url: &str, authorization: Option<&str>) -> Result<Self> {
        let mut line = match url.strip_prefix("git://") {
            Some(rest) => Self { url: url.to_owned(), way: Way::Tcp(connect(url, rest).await?) },
            None if url.starts_with("http://") || url.starts_with("https://") => {
                let way = Way::Http { client, authorization: authorization.map(Into::into) };
                Self { url: url.trim_end_matches('/').to_owned(), way }
            }
            None if url.starts_with("file://") => {
                let detail = "the engine fetches from servers only: clone it, and give the directory";
                return Err(failed(url, detail.into()));
            }
            None => {
                let detail = "the engine has no ssh keys: give the repository as a build context, which the command line fetches with yours (--build-context name=git@…), or use https:// with --secret id=GIT_AUTH_TOKEN";
                return Err(failed(url, detail.into()));
            }
        };
        line.greet().await?;
        Ok(line)
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Reads the server's greeting: what it can do.
    async fn greet(&mut self) -> Result<()> {
        let mut packets = match &mut self.way {
            Way::Http { client, authorization } => {
                let address = format!("{}/info/refs?service=git-upload-pack", self.url);
                let mut headers = vec![("git-protocol", "version=2")];
                headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
                let answer = client.download(&address, &headers).await?;
                Packets::new(&self.url, Source::Http(Box::new(checked(&self.url, answer)?)))
            }
            Way::Tcp(stream) => Packets::new(&self.url, Source::Tcp(stream)),
        };
        let mut greeted = false;
        loop {
            match packets.next().await? {
                // Before the greeting some servers say which service it is of.
                Packet::Data(line) if line.starts_with(b"# service=") => {}
                Packet::Data(line) if line.trim_ascii_end() == b"version 2" => greeted = true,
                Packet::Data(line) if line.starts_with(b"ERR ") => {
                    let text = String::from_utf8_lossy(&line[4..]).trim().to_owned();
                    return Err(failed(&self.url, text));
                }
                Packet::Data(line) if line.starts_with(b"object-format=") => {
                    if line.trim_ascii_end() != b"object-format=sha1" {
                        return Err(failed(&self.url, "its objects have other ids than SHA-1".into()));
                    }
                }
                Packet::Data(_) if greeted => {}
                Packet::Data(_) => {
                    let detail = "the server does not speak version 2 of git's protocol".into();
                    return Err(failed(&self.url, detail));
                }
                Packet::Flush if greeted => return Ok(()),
                Packet::Flush | Packet::Delimiter => {}
            }
        }
    }

    /// Sends one command.
    pub(super) async fn command(&mut self, name: &str, arguments: &[String]) -> Result<Packets<'_>> {
        let mut body = Vec::new();
        packet(&mut body, &format!("command={name}\n"));
        packet(&mut body, "agent=corten\n");
        packet(&mut body, "object-format=sha1\n");
        body.extend_from_slice(b"0001");
        for argument in arguments {
            packet(&mut body, &format!("{argument}\n"));
        }
        body.extend_from_slice(b"0000");
        let source = match &mut self.way {
            Way::Http { client, authorization } => {
                let address = format!("{}/git-upload-pack", self.url);
                let mut headers = vec![
                    ("git-protocol", "version=2"),
                    ("content-type", "application/x-git-upload-pack-request"),
                    ("accept", "application/x-git-upload-pack-result"),
                ];
                headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
                let answer = client.post(&address, &headers, body).await?;
                Source::Http(Box::new(checked(&self.url, answer)?))
            }
            Way::Tcp(stream) => {
                let sent = tokio::time::timeout(SILENCE, stream.write_all(&body)).await;
                sent.map_err(|_| silent(&self.url))?.map_err(|error| failed(&self.url, error.to_string()))?;
                Source::Tcp(stream)
            }
        };
        Ok(Packets::new(&self.url, source))
    }

    /// Fetches an object with what it is made of, but no history: a pack, in a file without a name.
    pub(super) async fn fetch(&mut self, object: Oid, scratch: &Path) -> Result<File> {
        let arguments = [
            format!("want {object}"),
            "ofs-delta".into(),
            "deepen 1".into(),
            "no-progress".into(),
            "done".into(),
        ];
        let mut file = sys::scratch::unnamed(scratch)?;
        let mut packets = self.command("fetch", &arguments).await?;
        let (mut in_pack, mut length) = (false, 0);
        loop {
            let data = match packets.next().await? {
                Packet::Data(data) => data,
                Packet::Delimiter => continue,
                Packet::Flush => break,
            };
            if !in_pack {
                if let Some(text) = data.strip_prefix(b"ERR ") {
                    return Err(packets.failed(String::from_utf8_lossy(text).trim()));
                }
                in_pack = data.trim_ascii_end() == b"packfile";
                continue;
            }
            match data.split_first() {
                Some((1, bytes)) => {
                    length += bytes.len() as u64;
                    if length > LARGEST {
                        return Err(packets.failed("the commit is larger than 16 GiB"));
                    }
                    // Into the page cache: short enough for the thread of the runtime.
                    file.write_all(bytes).map_err(|e| sys::Error::new("write", "a git pack", e))?;
                }
                Some((3, text)) => return Err(packets.failed(String::from_utf8_lossy(text).trim())),
                _ => {}
            }
        }
        if length == 0 {
            return Err(packets.failed(&format!("the server has no commit {object}, or does not give it")));
        }
        Ok(file)
    }
}

impl<'l> Packets<'l> {
    fn new(url: &'l str, source: Source<'l>) -> Self {
        Self { url, source, have: Vec::new(), at: 0 }
    }

    fn failed(&self, detail: &str) -> crate::Error {
        failed(self.url, detail.to_owned())
    }

    /// The next packet. An answer ends with one, so a connection that ends before it broke.
    pub(super) async fn next(&mut self) -> Result<Packet> {
        self.fill(4).await?;
        let header = &self.have[self.at..self.at + 4];
        let length = std::str::from_utf8(header).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        self.at += 4;
        match length {
            Some(0) => Ok(Packet::Flush),
            Some(1) => Ok(Packet::Delimiter),
            // The end of all answers, where one connection has several: as good as the end of this one.
            Some(2) => Ok(Packet::Flush),
            Some(length @ 4..=LONGEST) => {
                self.fill(length - 4).await?;
                let data = self.have[self.at..self.at + length - 4].to_vec();
                self.at += length - 4;
                Ok(Packet::Data(data))
            }
            _ => Err(self.failed("the server's answer is not git's protocol")),
        }
    }

    /// Reads until so many bytes are there.
    async fn fill(&mut self, wanted: usize) -> Result<()> {
        while self.have.len() - self.at < wanted {
            if self.at > 0 {
                self.have.drain(..self.at);
                self.at = 0;
            }
            let more = match &mut self.source {
                Source::Http(answer) => match answer.chunk().await? {
                    Some(chunk) => {
                        self.have.extend_from_slice(&chunk);
                        true
                    }
                    None => false,
                },
                Source::Tcp(stream) => {
                    let read = tokio::time::timeout(SILENCE, stream.read_buf(&mut self.have)).await;
                    let read = read.map_err(|_| silent(self.url))?;
                    read.map_err(|error| failed(self.url, error.to_string()))? > 0
                }
            };
            if !more {
                return Err(self.failed("the connection ended early"));
            }
        }
        Ok(())
    }
}

/// Connects to a server of git:// and says what is wanted.
async fn connect(url: &str, rest: &str) -> Result<TcpStream> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let address = match authority.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => authority.to_owned(),
        _ => format!("{authority}:{PORT}"),
    };
    let stream = tokio::time::timeout(SILENCE, TcpStream::connect(&address)).await;
    let mut stream =
        stream.map_err(|_| silent(url))?.map_err(|error| failed(url, format!("{address}: {error}")))?;
    let mut hello = Vec::new();
    packet(&mut hello, &format!("git-upload-pack /{path}\0host={authority}\0\0version=2\0"));
    stream.write_all(&hello).await.map_err(|error| failed(url, error.to_string()))?;
    Ok(stream)
}

fn silent(url: &str) -> crate::Error {
    failed(url, format!("the server said nothing for {} s", SILENCE.as_secs()))
}

/// An answer that is one.
fn checked(url: &str, answer: Download) -> Result<Download> {
    let detail = match answer.status() {
        200 => return Ok(answer),
        401 | 403 => "access denied: a token goes with --secret id=GIT_AUTH_TOKEN (or GIT_AUTH_TOKEN.<host>)"
            .to_owned(),
        404 => "repository not found".to_owned(),
        301 | 302 | 307 | 308 => format!("it has moved to {}", answer.header("location")),
        status => format!("invalid response status {status}"),
    };
    Err(failed(url, detail))
}

fn packet(into: &mut Vec<u8>, text: &str) {
    into.extend_from_slice(format!("{:04x}", text.len() + 4).as_bytes());
    into.extend_from_slice(text.as_bytes());
}
