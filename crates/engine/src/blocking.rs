//! Where async stops: the one crossing from the engine to the blocking rooms below it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::LazyLock;

use tokio::sync::{Semaphore, oneshot};

use self::pool::{Pool, Turn};

mod pool;

/// How many blocking calls run at once. Each start takes up to three for some milliseconds; more would only add
/// threads (and their stacks) that wait for the same processors and locks of the kernel.
const AT_ONCE: usize = 64;

static SLOTS: LazyLock<Semaphore> = LazyLock::new(|| Semaphore::new(AT_ONCE));

/// For short calls. Tokio's pool wakes the thread that has been idle longest, so that none of those that a burst has made
/// is ever idle long enough to end.
static POOL: Pool = Pool::new();

/// Runs a short blocking call, at most [`AT_ONCE`] at a time.
pub(crate) async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let slot = SLOTS.acquire().await.expect("the semaphore is never closed");
    let (sender, result) = oneshot::channel();
    start(move |turn| {
        let made = catch_unwind(AssertUnwindSafe(call));
        turn.end();
        // Nobody may be there to take it.
        let _ = sender.send(made);
    });
    let result = result.await.expect("it is sent whether the call panics or not");
    drop(slot);
    result.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Starts a short blocking call that nobody waits for.
pub(crate) fn aside(call: impl FnOnce() + Send + 'static) {
    start(|_| call());
}

fn start(call: impl FnOnce(&mut Turn) + Send + 'static) {
    if let Err(call) = POOL.run(Box::new(call)) {
        // The kernel gives no thread; tokio's pool has some, or waits for one.
        tokio::task::spawn_blocking(|| call(&mut Turn::elsewhere()));
    }
}

/// Waits for the blocking calls that are going on: for a daemon that ends, once nothing new begins.
pub fn finish() {
    POOL.finish();
}

/// Runs a blocking call that lasts as long as its client or its content does (save, load, import): it takes no slot
/// from the short ones.
pub(crate) async fn lasting<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
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
            Ok(panic) => resume_unwind(panic),
            Err(_) => std::future::pending().await,
        },
    }
}
