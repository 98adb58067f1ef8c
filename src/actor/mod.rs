//! The threads that actors live on: one actix system, one arbiter per actor.
//!
//! This room knows threads, not what runs on them.

use actix::{Actor, Addr, Context};
use actix_rt::{Arbiter, System};
use std::sync::mpsc;
use std::thread::JoinHandle;

/// The actix system, on a thread of its own beside the server's runtime.
#[derive(Debug)]
pub struct ActorRuntime {
    system: System,
    thread: Option<JoinHandle<()>>,
}

impl ActorRuntime {
    /// Starts the system.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start() -> std::io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("actors".into())
            .spawn(move || {
                let runner = System::new();
                let _ = sender.send(System::current());
                if let Err(error) = runner.run() {
                    tracing::error!(%error, "the actor system ended");
                }
            })?;
        let system = receiver.recv().map_err(std::io::Error::other)?;
        Ok(Self {
            system,
            thread: Some(thread),
        })
    }

    /// Starts an actor on a thread of its own, which ends with the actor.
    pub fn spawn<A>(&self, make: impl FnOnce() -> A + Send + 'static) -> Addr<A>
    where
        A: Actor<Context = Context<A>>,
    {
        System::set_current(self.system.clone());
        let arbiter = Arbiter::new();
        let (context_sender, context_receiver) = mpsc::channel();
        arbiter.spawn_fn(move || {
            let address = make().start();
            let _ = context_sender.send(address);
        });
        context_receiver
            .recv()
            .expect("a new arbiter runs what it is given")
    }
}

/// Ends the calling actor's own thread. An actor says so when it is dropped, by a panic too.
pub fn end_own_thread() {
    if let Some(arbiter) = Arbiter::try_current() {
        arbiter.stop();
    }
}

impl Drop for ActorRuntime {
    fn drop(&mut self) {
        self.system.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
