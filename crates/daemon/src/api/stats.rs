//! `/containers/{id}/stats`.

use bytes::Bytes;
use http::Response;
use serde::Serialize;

use super::{Call, ok, stream};
use crate::body::{Body, Task};
use crate::error::Result;

pub(super) async fn stats(call: Call, id: &str) -> Result<Response<Body>> {
    if !call.query.bool_or("stream", true) {
        return ok(&call.engine.stats_once(id, call.query.bool("one-shot")).await?);
    }
    let mut stats = call.engine.stats(id).await?;
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let task = Task::spawn(async move {
        while let Some(sample) = stats.next().await {
            if sender.send(line(&sample)).await.is_err() {
                return;
            }
        }
    });
    stream("application/json", Body::stream(receiver).until(call.peer.gone()).with_task(task))
}

fn line(value: &impl Serialize) -> Bytes {
    let mut line = serde_json::to_vec(value).expect("API objects have string keys");
    line.push(b'\n');
    line.into()
}
