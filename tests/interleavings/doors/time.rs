//! `std::time`, and a `tokio::time::timeout` that may come at any moment.

pub use real_std::time::{Duration, Instant};

use real_std::future::Future;
use real_std::pin::pin;
use real_std::task::Poll;
use shuttle::rand::{Rng as _, thread_rng};

/// The time was over.
#[derive(Debug)]
pub struct Elapsed;

/// Runs a future for as long as chance allows: a few turns, or to its end.
pub async fn timeout<F: Future>(_: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut patience: u8 = thread_rng().gen_range(0..6);
    let mut future = pin!(future);
    real_std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if patience == 0 => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            if patience < 4 {
                patience -= 1;
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }
    })
    .await
}
