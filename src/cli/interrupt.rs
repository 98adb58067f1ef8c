//! Ctrl-C: the first asks the command to finish what it has begun, the second ends it at once.

use super::exit::{CliError, Exit};
use std::future::Future;
use tokio::sync::watch;

/// Tells whether the user, or the command itself, wants to stop. Clones see the same.
#[derive(Debug, Clone)]
pub struct Interrupt {
    stopped: watch::Sender<bool>,
}

impl Interrupt {
    /// Listens for Ctrl-C from now on. Must be called inside the runtime.
    #[must_use]
    pub fn listen() -> Self {
        let interrupt = Self::never();
        let stopped = interrupt.stopped.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_err() {
                return;
            }
            stopped.send_replace(true);
            if tokio::signal::ctrl_c().await.is_ok() {
                std::process::exit(i32::from(Exit::Interrupted.code()));
            }
        });
        interrupt
    }

    /// Hears nothing: what the tests use, and what a stop inside one command is made of.
    #[must_use]
    pub fn never() -> Self {
        Self {
            stopped: watch::Sender::new(false),
        }
    }

    /// Whether it has happened.
    #[must_use]
    pub fn is_set(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Makes it happen.
    pub fn set(&self) {
        self.stopped.send_replace(true);
    }

    /// Returns when it has happened.
    pub async fn wait(&self) {
        let mut stopped = self.stopped.subscribe();
        // The sender lives as long as `self`, so this ends with the value and not with an error.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }

    /// Runs something that has nothing to finish: Ctrl-C drops it.
    ///
    /// # Errors
    /// Its own, or [`CliError::Interrupted`].
    pub async fn or_stop<T>(
        &self,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        tokio::select! {
            outcome = work => outcome,
            () = self.wait() => Err(CliError::Interrupted),
        }
    }
}
