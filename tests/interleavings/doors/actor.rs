//! `actix`, and the room that starts actors: one thread for each, which takes letters in order.

use crate::sync::{Arc, Mutex};
use real_std::any::TypeId;
use real_std::collections::VecDeque;
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};

/// What an actor does with a letter.
pub trait Handler<M> {
    fn handle(&mut self, message: M);
}

/// An actor that ends.
pub trait Actor: Send + 'static {
    /// Held while a letter waits.
    type Waiting: Send;
    /// Whether it takes no more letters.
    fn has_ended(&self) -> bool;
    /// A letter of this type was put into its mailbox.
    fn sent(letter: TypeId) -> Self::Waiting;
}

type Letter<A> = Box<dyn FnOnce(&mut A) + Send>;

/// Letters, until the actor has ended and takes no more.
struct Mailbox<A> {
    letters: Mutex<Option<VecDeque<Letter<A>>>>,
    waiting: BatchSemaphore,
}

/// The address of an actor, who ends with it. Letters to one that has ended are dropped.
pub struct Addr<A>(Arc<Mailbox<A>>);

impl<A> real_std::fmt::Debug for Addr<A> {
    fn fmt(&self, f: &mut real_std::fmt::Formatter<'_>) -> real_std::fmt::Result {
        f.write_str("Addr")
    }
}

impl<A> Drop for Addr<A> {
    fn drop(&mut self) {
        self.0.waiting.close();
    }
}

impl<A: Actor> Addr<A> {
    pub fn do_send<M: Send + 'static>(&self, message: M)
    where
        A: Handler<M>,
    {
        let waiting = A::sent(TypeId::of::<M>());
        let letter: Letter<A> = Box::new(move |actor| {
            drop(waiting);
            actor.handle(message);
        });
        let mut letters = self.0.letters.lock().unwrap();
        let Some(open) = letters.as_mut() else {
            drop(letters);
            return drop(letter);
        };
        open.push_back(letter);
        drop(letters);
        self.0.waiting.release(1);
    }
}

#[derive(Debug, Default)]
pub struct ActorRuntime;

impl ActorRuntime {
    pub fn spawn<A: Actor>(&self, make: impl FnOnce() -> A + Send + 'static) -> Addr<A> {
        let mailbox = Arc::new(Mailbox {
            letters: Mutex::new(Some(VecDeque::new())),
            waiting: BatchSemaphore::new(0, Fairness::StrictlyFair),
        });
        let own = mailbox.clone();
        shuttle::thread::spawn(move || {
            let mut actor: A = make();
            while !actor.has_ended() && own.waiting.acquire_blocking(1).is_ok() {
                let letter = own
                    .letters
                    .lock()
                    .unwrap()
                    .as_mut()
                    .and_then(VecDeque::pop_front);
                letter.expect("one for each permit")(&mut actor);
            }
            let left = own.letters.lock().unwrap().take();
            drop(left);
        });
        Addr(mailbox)
    }
}
