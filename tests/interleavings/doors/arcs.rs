//! `arc_swap`: a register whose every use is a step of the schedule. A guard counts as a holder,
//! which the real one does from the next store on.

use crate::sync::{Arc, Mutex};

/// A register that always holds something.
#[derive(Debug)]
pub struct ArcSwap<T>(Mutex<Arc<T>>);

impl<T> ArcSwap<T> {
    pub fn from_pointee(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub fn load(&self) -> Arc<T> {
        self.load_full()
    }

    pub fn load_full(&self) -> Arc<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn store(&self, value: Arc<T>) {
        let old = real_std::mem::replace(&mut *self.0.lock().unwrap(), value);
        drop(old);
    }
}

/// What a register held.
#[derive(Debug)]
pub struct Guard<T>(Option<Arc<T>>);

impl<T> real_std::ops::Deref for Guard<T> {
    type Target = Option<Arc<T>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// A register that may be empty.
#[derive(Debug)]
pub struct ArcSwapOption<T>(Mutex<Option<Arc<T>>>);

impl<T> ArcSwapOption<T> {
    pub fn empty() -> Self {
        Self(Mutex::new(None))
    }

    pub fn load(&self) -> Guard<T> {
        Guard(self.0.lock().unwrap().clone())
    }

    pub fn store(&self, value: Option<Arc<T>>) {
        drop(self.swap(value));
    }

    pub fn swap(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        real_std::mem::replace(&mut *self.0.lock().unwrap(), value)
    }
}
