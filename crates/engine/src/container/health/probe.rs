//! One probe: an exec in the container, or a connection made from the daemon inside the container's network namespace.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use super::test::{Http, Target};
use super::{Check, MAX_OUTPUT, NO_CODE, Probe, Test};
use crate::container::Container;
use crate::{Engine, Error, time};

/// How long the start of a probe's program may take; its own time begins after that.
const START: Duration = Duration::from_secs(30);
/// How long a probe that was killed may take to end.
const KILLED: Duration = Duration::from_secs(10);

/// At most [`MAX_OUTPUT`] bytes; what is lost is marked.
#[derive(Debug, Default)]
struct Output {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Output {
    fn push(&mut self, data: &[u8]) {
        let room = MAX_OUTPUT - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(room)]);
        self.truncated |= data.len() > room;
    }

    fn text(&self) -> String {
        let mut text = String::from_utf8_lossy(&self.bytes).into_owned();
        if self.truncated {
            text.push_str("...");
        }
        text
    }
}

impl Engine {
    /// Runs one probe. `over` completes when its result is no longer wanted; then a program that runs is killed, and
    /// the answer is `None`.
    pub(super) async fn probe(
        &self,
        container: &Arc<Container>,
        check: &Check,
        over: impl Future<Output = ()>,
    ) -> Option<Probe> {
        let start = time::now();
        let (exit_code, output) = match &check.test {
            Test::Exec(command) => self.probe_by_exec(container, command, check.timeout, over).await?,
            Test::Http(http) => bounded(check.timeout, over, ask(container, http)).await?,
            Test::Tcp(target) => bounded(check.timeout, over, greet(container, target)).await?,
        };
        Some(Probe { start, end: time::now(), exit_code, output })
    }

    async fn probe_by_exec(
        &self,
        container: &Arc<Container>,
        command: &[String],
        timeout: Duration,
        over: impl Future<Output = ()>,
    ) -> Option<(i32, String)> {
        let started = tokio::time::timeout(START, self.exec_probe(container, command)).await;
        let (exec, mut socket) = match started {
            Ok(Ok(started)) => started,
            Ok(Err(error)) => return Some((NO_CODE, error.message())),
            Err(_) => {
                let id = &container.id;
                return Some((NO_CODE, format!("timed out starting health check for container {id}")));
            }
        };
        let mut output = Output::default();
        let run = async {
            let mut chunk = [0; MAX_OUTPUT];
            while let Ok(n @ 1..) = socket.read(&mut chunk).await {
                output.push(&chunk[..n]);
            }
            exec.ended().await
        };
        enum Outcome {
            Ended(i32),
            TimedOut,
            Over,
        }
        let outcome = tokio::select! {
            code = run => Outcome::Ended(code),
            () = tokio::time::sleep(timeout) => Outcome::TimedOut,
            () = over => Outcome::Over,
        };
        let result = match outcome {
            Outcome::Ended(code) => Some((code, output.text())),
            Outcome::TimedOut => {
                exec.kill().await;
                // Dying probes must not pile up.
                let _ = tokio::time::timeout(KILLED, exec.ended()).await;
                Some((NO_CODE, timed_out(timeout, &output.text())))
            }
            // It stays known until its end has been told.
            Outcome::Over => {
                exec.kill().await;
                return None;
            }
        };
        self.exec_forget(&exec);
        result
    }
}

/// Docker's words for a probe that took too long.
fn timed_out(timeout: Duration, output: &str) -> String {
    let said = format!(
        "Health check exceeded timeout ({})",
        spec::duration::format(i64::try_from(timeout.as_nanos()).unwrap_or(i64::MAX))
    );
    if output.is_empty() { said } else { format!("{said}: {output}") }
}

/// A probe without a program: its answer, unless its time or its container ends before.
async fn bounded(
    timeout: Duration,
    over: impl Future<Output = ()>,
    probe: impl Future<Output = Result<String, String>>,
) -> Option<(i32, String)> {
    tokio::select! {
        answer = probe => Some(match answer {
            Ok(output) => (0, output),
            Err(output) => (1, output),
        }),
        () = tokio::time::sleep(timeout) => Some((NO_CODE, timed_out(timeout, ""))),
        () = over => None,
    }
}

async fn greet(container: &Container, target: &Target) -> Result<String, String> {
    let (_stream, address) = connect(container, target).await?;
    Ok(format!("connected to {address}"))
}

async fn ask(container: &Container, http: &Http) -> Result<String, String> {
    let (stream, _) = connect(container, &http.target).await?;
    let failed = |error: hyper::Error| crate::error::chain(&error);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let request = request(http).map_err(|e| e.to_string())?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(failed)?;
        let status = answer.status();
        let mut output = Output::default();
        output.push(format!("{status}\n").as_bytes());
        let mut body = answer.into_body();
        while !output.truncated
            && let Some(Ok(frame)) = body.frame().await
        {
            output.push(frame.data_ref().map_or(&[][..], |data| data));
        }
        let (from, to) = http.healthy;
        let healthy = (from..=to).contains(&status.as_u16());
        if healthy { Ok(output.text()) } else { Err(output.text()) }
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        // A server that closes the connection has said all it had to say, or its error comes out of the exchange.
        _ = connection => exchange.await,
    }
}

fn request(http: &Http) -> Result<http::Request<Empty<Bytes>>, http::Error> {
    let path = http.uri.path_and_query().map_or("/", |p| p.as_str());
    let host = http.uri.authority().map_or("localhost", |a| a.as_str());
    let mut request = http::Request::builder()
        .method(http.method.clone())
        .uri(path)
        .header(http::header::USER_AGENT, concat!("corten-health/", env!("CARGO_PKG_VERSION")))
        .header(http::header::CONNECTION, "close");
    if !http.headers.iter().any(|(name, _)| name == http::header::HOST) {
        request = request.header(http::header::HOST, host);
    }
    for (name, value) in &http.headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

/// A connection from inside the container's network namespace: the first of the addresses that accepts.
async fn connect(container: &Container, target: &Target) -> Result<(TcpStream, SocketAddr), String> {
    let mut refused = String::new();
    for &address in &target.addresses {
        let socket = socket(container, address).map_err(|e| e.message())?;
        match socket.connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => {
                refused = format!("cannot connect to {address}: {}", crate::error::errno_text(&error))
            }
        }
    }
    Err(refused)
}

/// An unconnected socket. A socket stays in the namespace it was made in, whoever uses it.
fn socket(container: &Container, address: SocketAddr) -> Result<TcpSocket, Error> {
    let netns = sys::netns::of_process(container.view().state.pid)?;
    let socket = sys::netns::tcp_socket(&netns, address.is_ipv6())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_and_marked() {
        let mut output = Output::default();
        output.push(&[b'x'; MAX_OUTPUT]);
        assert_eq!(output.text().len(), MAX_OUTPUT);
        output.push(b"y");
        assert_eq!(output.text(), format!("{}...", "x".repeat(MAX_OUTPUT)));
    }

    #[test]
    fn a_timeout_is_told_in_dockers_words() {
        let timeout = Duration::from_millis(1500);
        assert_eq!(timed_out(timeout, ""), "Health check exceeded timeout (1.5s)");
        assert_eq!(timed_out(timeout, "x\n"), "Health check exceeded timeout (1.5s): x\n");
    }

    #[test]
    fn a_request_names_its_host_once() {
        let words = ["HTTP", "http://localhost:81/a?b=c", "--header=Host: example.org"].map(str::to_owned);
        let Ok(Some(Test::Http(http))) = Test::read(&words, &[]) else { panic!("not HTTP") };
        let request = request(&http).unwrap();
        assert_eq!(request.uri(), "/a?b=c");
        let hosts: Vec<_> = request.headers().get_all("host").iter().collect();
        assert_eq!(hosts, ["example.org"]);
    }
}
