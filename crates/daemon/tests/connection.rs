//! Connections, byte by byte, with a handler that is no engine.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use daemon::body::{Body, Task};
use daemon::config::Host;
use daemon::listen::{Listener, Setup};
use daemon::server::{Handler, Peer, Reply, Takeover, serve};
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, watch};

/// `/echo` takes the connection over, `/endless` streams until the client hangs up, all else answers `hello`.
#[derive(Clone)]
struct Fake {
    /// A permit for each endless answer that has ended.
    ended: Arc<Semaphore>,
}

impl Handler for Fake {
    async fn handle(&self, request: Request<Incoming>, peer: Peer) -> Reply {
        match request.uri().path() {
            "/echo" => Reply::Takeover(Takeover {
                head: Bytes::from_static(b"HTTP/1.1 101 UPGRADED\r\n\r\n"),
                then: Box::new(|mut client, early| {
                    Box::pin(async move {
                        client.write_all(&early).await.unwrap();
                        let mut rest = Vec::new();
                        client.read_to_end(&mut rest).await.unwrap();
                        client.write_all(&rest).await.unwrap();
                        client.write_all(b"!").await.unwrap();
                    })
                }),
            }),
            "/endless" => {
                struct Ended(Arc<Semaphore>);
                impl Drop for Ended {
                    fn drop(&mut self) {
                        self.0.add_permits(1);
                    }
                }
                let (sender, receiver) = tokio::sync::mpsc::channel(1);
                let ended = Ended(Arc::clone(&self.ended));
                let task = Task::spawn(async move {
                    let _ended = ended;
                    sender.send(Bytes::from_static(b"first")).await.unwrap();
                    std::future::pending::<()>().await;
                });
                Reply::Response(Response::new(Body::stream(receiver).until(peer.gone()).with_task(task)))
            }
            _ => Reply::Response(Response::new(Body::full(Bytes::from_static(b"hello")))),
        }
    }
}

struct Serving {
    path: std::path::PathBuf,
    stop: watch::Sender<bool>,
    serving: tokio::task::JoinHandle<()>,
    ended: Arc<Semaphore>,
    _directory: tempfile::TempDir,
}

async fn start() -> Serving {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("api.sock");
    let listener = Listener::bind(&Host::Unix(path.clone()), &Setup::default()).await.unwrap();
    let (stop, stopped) = watch::channel(false);
    let ended = Arc::new(Semaphore::new(0));
    let serving = tokio::spawn(serve(listener, Fake { ended: Arc::clone(&ended) }, stopped, || None));
    Serving { path, stop, serving, ended, _directory: directory }
}

async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), work).await.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Reads until `text` has come.
async fn until(client: &mut UnixStream, text: &str) -> String {
    let mut got = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&got).contains(text) {
            assert_ne!(client.read_buf(&mut got).await.unwrap(), 0, "{}", String::from_utf8_lossy(&got));
        }
    };
    soon(text, reading).await;
    String::from_utf8(got).unwrap()
}

#[tokio::test]
async fn bytes_behind_the_head_go_to_whoever_takes_over() {
    let server = start().await;
    let mut client = UnixStream::connect(&server.path).await.unwrap();
    // A request before it on the same connection, and no upgrade asked for.
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(&mut client, "hello").await;
    client.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\nearly ").await.unwrap();
    let got = until(&mut client, "early ").await;
    assert_eq!(got, "HTTP/1.1 101 UPGRADED\r\n\r\nearly ");
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    until(&mut client, "late!").await;
}

#[tokio::test]
async fn a_client_that_is_done_sending_is_answered() {
    let server = start().await;
    let mut client = UnixStream::connect(&server.path).await.unwrap();
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    client.shutdown().await.unwrap();
    let mut answer = String::new();
    soon("the answer", client.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn what_nobody_reads_any_more_ends() {
    let server = start().await;
    let mut client = UnixStream::connect(&server.path).await.unwrap();
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(&mut client, "first").await;
    assert_eq!(server.ended.available_permits(), 0);
    drop(client);
    soon("the answer's end", server.ended.acquire()).await.unwrap().forget();
}

#[tokio::test]
async fn stopping_ends_what_has_no_end() {
    let server = start().await;
    let mut client = UnixStream::connect(&server.path).await.unwrap();
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    until(&mut client, "first").await;
    let mut echo = UnixStream::connect(&server.path).await.unwrap();
    echo.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
        .await
        .unwrap();
    until(&mut echo, "UPGRADED").await;
    server.stop.send_replace(true);
    tokio::time::timeout(Duration::from_secs(5), server.serving).await.expect("it did not stop").unwrap();
    assert!(!server.path.exists(), "the socket is left");
}
