//! Answers that tell how far the work is: a line of JSON each.

use bytes::Bytes;
use http::Response;
use spec::api::Progress;
use tokio::sync::{mpsc, oneshot};

use super::stream;
use crate::body::{Body, Task, json_line};
use crate::error::{Error, Result};
use crate::server::Peer;

/// Does the work and streams its lines. A failure before the first line is the answer's status, one after it the
/// stream's last line. The work ends when the client hangs up.
pub(super) async fn progress<F>(
    peer: Peer,
    work: impl FnOnce(mpsc::Sender<Progress>) -> F,
) -> Result<Response<Body>>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let (sender, mut lines) = mpsc::channel::<Progress>(64);
    let (done, mut result) = oneshot::channel();
    let work = work(sender);
    let task = Task::spawn(async move {
        // The receiver goes with the answer.
        let _ = done.send(work.await);
    });
    let first = lines.recv().await;
    if first.is_none() {
        ended(&mut result).await?;
    }
    let (out, chunks) = mpsc::channel::<Bytes>(64);
    let forward = Task::spawn(async move {
        let _task = task;
        let mut line = first;
        while let Some(progress) = line {
            if out.send(json_line(&progress)).await.is_err() {
                return;
            }
            line = lines.recv().await;
        }
        if let Err(error) = ended(&mut result).await {
            let mut line = Progress::error(error.message());
            // `docker build` ends with it.
            line.error_detail.iter_mut().for_each(|detail| detail.code = error.exit_code().into());
            // The client may have gone.
            let _ = out.send(json_line(&line)).await;
        }
    });
    stream("application/json", Body::stream(chunks).until(peer.gone()).with_task(forward))
}

/// The work's own result; asked twice, the second answer is that all is well.
async fn ended(result: &mut oneshot::Receiver<Result<()>>) -> Result<()> {
    if result.is_terminated() {
        return Ok(());
    }
    result
        .await
        .unwrap_or_else(|_| Err(Error::new(spec::ErrorKind::Internal, "the work ended without a result")))
}
