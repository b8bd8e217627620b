//! Futures of one thread, driven side by side.

use std::pin::Pin;
use std::task::{Context, Poll};

/// Futures that go on while something else is waited for.
pub(crate) struct Together<'a>(Vec<Pin<Box<dyn Future<Output = ()> + 'a>>>);

impl<'a> Together<'a> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, future: impl Future<Output = ()> + 'a) {
        self.0.push(Box::pin(future));
    }

    /// Drives all of them a step; whether none is left.
    fn poll(&mut self, context: &mut Context<'_>) -> bool {
        self.0.retain_mut(|future| future.as_mut().poll(context).is_pending());
        self.0.is_empty()
    }

    /// Drives them until the last is done.
    pub(crate) async fn finish(&mut self) {
        std::future::poll_fn(|context| if self.poll(context) { Poll::Ready(()) } else { Poll::Pending })
            .await;
    }

    /// Drives them until `until` holds; it is looked at whenever one of them did something.
    pub(crate) async fn until(&mut self, until: impl Fn() -> bool) {
        std::future::poll_fn(|context| {
            self.poll(context);
            if until() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// Drives all futures until the last is done; their outcomes, in order.
pub(crate) async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let futures: Vec<_> = futures.into_iter().collect();
    let cells: Vec<_> = futures.iter().map(|_| std::cell::Cell::new(None)).collect();
    let mut together = Together::new();
    for (future, cell) in futures.into_iter().zip(&cells) {
        together.push(async move { cell.set(Some(future.await)) });
    }
    together.finish().await;
    drop(together);
    cells.into_iter().filter_map(std::cell::Cell::into_inner).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn outcomes_keep_their_order() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let outcomes = runtime.block_on(super::all([3, 1, 2].map(|n| async move {
            for _ in 0..n {
                tokio::task::yield_now().await;
            }
            n
        })));
        assert_eq!(outcomes, [3, 1, 2]);
    }
}
