//! Answers of a group, handed over core by core.
//!
//! A group answers many requests of few threads. Each answer sent from the shard's thread would wake
//! its request alone: a system call for the shard, and another for the reply, which would leave
//! before the next one is there. So the answers for one runtime go to it in one message, and are
//! given out there: what is due on one connection leaves together.

use super::message::ReplyTo;
use crate::model::{Error, Reply};
use std::cell::RefCell;
use tokio::runtime::{Handle, Id};
use tokio::sync::mpsc;

/// One answer on its way.
type Parcel = (ReplyTo<Reply>, Result<Reply, Error>);

/// Gives out the answers for one runtime, on it.
#[derive(Debug, Clone)]
pub(super) struct Courier(mpsc::UnboundedSender<Vec<Parcel>>);

thread_local! {
    /// The courier of the runtime that this thread last asked from.
    static HERE: RefCell<Option<(Id, Courier)>> = const { RefCell::new(None) };
}

impl Courier {
    /// The courier of the runtime that the caller runs on.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn here() -> Self {
        let runtime = Handle::current();
        HERE.with_borrow_mut(|here| match here {
            Some((id, courier)) if *id == runtime.id() && !courier.0.is_closed() => courier.clone(),
            _ => {
                let courier = Self::start(&runtime);
                *here = Some((runtime.id(), courier.clone()));
                courier
            }
        })
    }

    fn start(runtime: &Handle) -> Self {
        let (sender, mut parcels) = mpsc::unbounded_channel::<Vec<Parcel>>();
        runtime.spawn(async move {
            while let Some(parcels) = parcels.recv().await {
                give_out(parcels);
            }
        });
        Self(sender)
    }

    fn hand_over(&self, parcels: Vec<Parcel>) {
        if let Err(mpsc::error::SendError(parcels)) = self.0.send(parcels) {
            give_out(parcels); // Its runtime is gone; who asked may be elsewhere by now.
        }
    }
}

fn give_out(parcels: Vec<Parcel>) {
    for (reply, answer) in parcels {
        let _ = reply.send(answer); // Nobody waits for a cancelled request.
    }
}

/// The answers of one group.
#[derive(Debug, Default)]
pub(super) struct Round(Vec<(Courier, Vec<Parcel>)>);

impl Round {
    /// Adds an answer.
    pub fn add(&mut self, courier: Courier, reply: ReplyTo<Reply>, answer: Result<Reply, Error>) {
        let parcel = (reply, answer);
        let known = |(it, _): &&mut (Courier, _)| it.0.same_channel(&courier.0);
        match self.0.iter_mut().find(known) {
            Some((_, parcels)) => parcels.push(parcel),
            None => self.0.push((courier, vec![parcel])),
        }
    }

    /// Sends them all off.
    pub fn send(self) {
        for (courier, parcels) in self.0 {
            courier.hand_over(parcels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn answers_reach_requests_of_several_runtimes() {
        let runtimes = [runtime(), runtime()];
        let mut round = Round::default();
        let mut asked = Vec::new();
        for turn in 0..6 {
            let courier = runtimes[turn % 2].block_on(async { Courier::here() });
            let (reply, answer) = oneshot::channel();
            round.add(courier, reply, Ok(Reply::Missing));
            asked.push(answer);
        }
        std::thread::spawn(|| round.send()).join().unwrap();
        for (turn, answer) in asked.into_iter().enumerate() {
            let answer = runtimes[turn % 2].block_on(answer);
            assert_eq!(answer.unwrap().unwrap(), Reply::Missing);
        }
    }

    #[test]
    fn an_answer_outlives_the_runtime_it_was_asked_from() {
        let gone = runtime();
        let courier = gone.block_on(async { Courier::here() });
        drop(gone);
        let (reply, answer) = oneshot::channel();
        let mut round = Round::default();
        round.add(courier, reply, Ok(Reply::Done));
        round.send();
        assert_eq!(answer.blocking_recv().unwrap().unwrap(), Reply::Done);
    }
}
