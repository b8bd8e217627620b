//! Where async stops: the one crossing from the engine to the blocking rooms below it.

use std::sync::LazyLock;

use tokio::sync::Semaphore;

/// How many blocking calls run at once. Each start takes up to three for some milliseconds; more would only add
/// threads (and their stacks) that wait for the same processors and locks of the kernel.
const AT_ONCE: usize = 64;

static SLOTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// Runs a short blocking call on tokio's blocking pool, at most [`AT_ONCE`] at a time.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = SLOTS.acquire().await.expect("the semaphore is never closed");
    let result = lasting(call).await;
    drop(slot);
    result
}

/// Runs a blocking call that lasts as long as its client or its content does (save, load, import): it takes no slot
/// from the short ones.
pub(crate) async fn lasting<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Blocking tasks are not cancelled but when the runtime itself ends, and then nobody polls this.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Runs a verb to its end even when its caller goes away (a client that closes its connection drops the request's
/// future): half a start or removal would leave things nobody owns.
pub(crate) async fn to_the_end<T: Send + 'static>(verb: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(verb).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
