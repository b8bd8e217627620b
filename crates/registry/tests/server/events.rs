//! Webhooks.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::sync::Notify;

use super::common::*;

/// Takes events, but refuses the first request.
async fn receiver() -> (std::net::SocketAddr, Arc<Mutex<Vec<Value>>>, Arc<Notify>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (events, came): (Arc<Mutex<Vec<Value>>>, Arc<Notify>) = Default::default();
    let (seen, more) = (Arc::clone(&events), Arc::clone(&came));
    let refused = Arc::new(Mutex::new(false));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (seen, more, refused) = (Arc::clone(&seen), Arc::clone(&more), Arc::clone(&refused));
            tokio::spawn(async move {
                let service =
                    hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
                        assert_eq!(request.headers()["x-secret"], "s");
                        let body = request.into_body().collect().await.unwrap().to_bytes();
                        if !std::mem::replace(&mut *refused.lock().unwrap(), true) {
                            let mut response = Response::new(Full::<Bytes>::default());
                            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                            return Ok::<_, Infallible>(response);
                        }
                        let envelope: Value = serde_json::from_slice(&body).unwrap();
                        seen.lock().unwrap().extend(envelope["events"].as_array().unwrap().clone());
                        more.notify_one();
                        Ok(Response::new(Full::default()))
                    });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, events, came)
}

#[tokio::test]
async fn what_happens_is_told_until_it_is_heard() {
    let (address, events, came) = receiver().await;
    let registry = serve_file(&format!(
        "[[webhook]]\nurl = \"http://{address}/hook\"\nheaders = {{ x-secret = \"s\" }}\nactions = [\"push\"]\n"
    ))
    .await;
    let (digest, manifest) = put_image(registry.address, "team/app", "1", &[b"layer"]).await;
    ask(registry.address, http::Method::GET, "/v2/team/app/manifests/1", &[], "").await;
    let told = || events.lock().unwrap().iter().find(|e| e["target"]["tag"] == "1").cloned();
    let event = loop {
        if let Some(event) = told() {
            break event;
        }
        came.notified().await;
    };
    assert_eq!(event["action"], "push");
    assert_eq!(event["target"]["digest"], digest);
    assert_eq!(event["target"]["size"], manifest.len());
    assert_eq!(event["target"]["repository"], "team/app");
    assert_eq!(event["target"]["url"], format!("http://x/v2/team/app/manifests/{digest}"));
    assert_eq!(event["request"]["method"], "PUT");
    let events = events.lock().unwrap();
    assert_eq!(events.len(), 3, "two blobs and a manifest, each once: {events:?}");
}
