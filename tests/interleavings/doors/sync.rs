//! `std::sync` and `tokio::sync`, as far as the sources use them.

pub use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak, atomic};

use super::fault::{self, Fault};
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};

/// It was closed.
#[derive(Debug)]
pub struct AcquireError;

/// `tokio::sync::Semaphore`.
#[derive(Debug)]
pub struct Semaphore(BatchSemaphore);

/// Permits that go back when this is dropped.
#[derive(Debug)]
pub struct OwnedSemaphorePermit {
    of: Arc<Semaphore>,
    count: usize,
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        self.of.0.release(self.count);
    }
}

impl Semaphore {
    pub const MAX_PERMITS: usize = usize::MAX >> 3;

    pub fn new(permits: usize) -> Self {
        let extra = usize::from(fault::is(Fault::PermitTooMany));
        Self(BatchSemaphore::new(permits + extra, Fairness::StrictlyFair))
    }

    pub fn available_permits(&self) -> usize {
        self.0.available_permits()
    }

    pub async fn acquire_owned(self: Arc<Self>) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.acquire_many_owned(1).await
    }

    pub async fn acquire_many_owned(
        self: Arc<Self>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        let count = count as usize;
        self.0.acquire(count).await.map_err(|_| AcquireError)?;
        Ok(OwnedSemaphorePermit { of: self, count })
    }

    pub fn try_acquire_many_owned(
        self: Arc<Self>,
        count: u32,
    ) -> Result<OwnedSemaphorePermit, AcquireError> {
        let count = count as usize;
        self.0.try_acquire(count).map_err(|_| AcquireError)?;
        Ok(OwnedSemaphorePermit { of: self, count })
    }
}

/// Closed when it is dropped, which wakes everybody who waits for that.
#[derive(Debug)]
struct Door(Arc<BatchSemaphore>);

impl Door {
    fn new() -> Self {
        Self(Arc::new(BatchSemaphore::new(0, Fairness::StrictlyFair)))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.0.close();
    }
}

pub mod oneshot {
    use super::{Arc, Door, Mutex};
    use real_std::future::Future;
    use real_std::pin::Pin;
    use real_std::task::{Context, Poll};

    /// The sender is gone.
    #[derive(Debug)]
    pub struct RecvError;

    #[derive(Debug)]
    pub struct Sender<T> {
        slot: Arc<Mutex<Option<T>>>,
        _open: Door,
    }

    pub struct Receiver<T> {
        slot: Arc<Mutex<Option<T>>>,
        closed: Pin<Box<dyn Future<Output = ()> + Send>>,
    }

    pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let slot = Arc::new(Mutex::new(None));
        let door = Door::new();
        let semaphore = door.0.clone();
        let closed = Box::pin(async move {
            let _is_closed = semaphore.acquire(1).await;
        });
        let receiver = Receiver {
            slot: slot.clone(),
            closed,
        };
        (Sender { slot, _open: door }, receiver)
    }

    impl<T> Sender<T> {
        pub fn send(self, value: T) -> Result<(), T> {
            *self.slot.lock().unwrap() = Some(value);
            Ok(())
        }
    }

    impl<T> Future for Receiver<T> {
        type Output = Result<T, RecvError>;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
            self.closed
                .as_mut()
                .poll(context)
                .map(|()| self.slot.lock().unwrap().take().ok_or(RecvError))
        }
    }
}

pub mod watch {
    use super::{Arc, BatchSemaphore, Door, Fault, Mutex, MutexGuard, fault};

    #[derive(Debug)]
    pub struct Sender<T> {
        value: Arc<Mutex<T>>,
        open: Arc<Door>,
    }

    #[derive(Debug)]
    pub struct Receiver<T> {
        value: Arc<Mutex<T>>,
        closed: Arc<BatchSemaphore>,
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            let (value, open) = (self.value.clone(), self.open.clone());
            Self { value, open }
        }
    }

    impl<T> Clone for Receiver<T> {
        fn clone(&self) -> Self {
            let (value, closed) = (self.value.clone(), self.closed.clone());
            Self { value, closed }
        }
    }

    pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
        let sender = Sender::new(value);
        let receiver = sender.subscribe();
        (sender, receiver)
    }

    impl<T> Sender<T> {
        pub fn new(value: T) -> Self {
            Self {
                value: Arc::new(Mutex::new(value)),
                open: Arc::new(Door::new()),
            }
        }

        pub fn subscribe(&self) -> Receiver<T> {
            Receiver {
                value: self.value.clone(),
                closed: self.open.0.clone(),
            }
        }

        pub fn borrow(&self) -> MutexGuard<'_, T> {
            self.value.lock().unwrap()
        }

        pub fn send_replace(&self, value: T) -> T {
            real_std::mem::replace(&mut *self.borrow(), value)
        }
    }

    impl<T: Clone> Sender<T> {
        pub fn send_if_modified(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
            if !fault::is(Fault::HealthOverwritten) {
                return change(&mut self.borrow());
            }
            let mut copy = self.borrow().clone();
            let changed = change(&mut copy);
            if changed {
                *self.borrow() = copy;
            }
            changed
        }
    }

    impl<T> Receiver<T> {
        pub fn borrow(&self) -> MutexGuard<'_, T> {
            self.value.lock().unwrap()
        }

        /// Nothing is ever sent where this is used: it waits for the sender's end.
        pub async fn changed(&mut self) -> Result<(), super::AcquireError> {
            let _is_closed = self.closed.acquire(1).await;
            Err(super::AcquireError)
        }
    }
}
