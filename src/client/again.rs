//! How a write under its name is sent again: a server does one request id once, as long as it runs.
//!
//! A write that leaves the same the second time may go to any run of the server. One on a condition,
//! or a count, goes only to the run that it went to first, which remembers it: another one would judge it
//! by what it has changed itself. Which run that is, an earlier answer told, or the server is asked.

use super::Result;
use super::connect::Pool;
use super::error::reason_of;
use super::keyspace::request_id;
use super::retry::Repeat;
use crate::proto::v1;
use crate::proto::v1::transaction_service_client::TransactionServiceClient;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, Ordering};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// What a second write of the same leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Twice {
    /// What the first one has left.
    Same,
    /// Something else, or an error.
    Differs,
}

impl Twice {
    /// Of a write that is done on a condition, or without one.
    pub(super) fn on_condition(is_on_condition: bool) -> Self {
        match is_on_condition {
            true => Self::Differs,
            false => Self::Same,
        }
    }
}

/// A write that has a name.
pub(super) trait Named: Clone {
    /// Its answer.
    type Answer;

    fn request_id(&self) -> &str;

    /// Makes another request of it, which says the same.
    fn rename(&mut self, request_id: String);

    /// Lets only this run of the server do it; 0 for any.
    fn only(&mut self, run: u64);

    /// Which run it was that answered.
    fn run_of(answer: &Self::Answer) -> u64;
}

macro_rules! named {
    ($($request:ident => $answer:ident of $run:expr),* $(,)?) => {
        $(impl Named for v1::$request {
            type Answer = v1::$answer;

            fn request_id(&self) -> &str {
                &self.request_id
            }

            fn rename(&mut self, request_id: String) {
                self.request_id = request_id;
            }

            fn only(&mut self, run: u64) {
                self.only_run = run;
            }

            fn run_of(answer: &Self::Answer) -> u64 {
                let run: fn(&v1::$answer) -> u64 = $run;
                run(answer)
            }
        })*
    };
}

named! {
    PutRequest => PutResponse of |it| it.run,
    PutContentRequest => PutContentResponse of |it| it.put.as_ref().map_or(0, |put| put.run),
    DeleteRequest => DeleteResponse of |it| it.run,
    DeleteRangeRequest => DeleteRangeResponse of |it| it.run,
    TouchRequest => TouchResponse of |it| it.run,
    IncrementRequest => IncrementResponse of |it| it.run,
    CommitRequest => CommitResponse of |it| it.run,
}

impl Pool {
    /// Sends a write on the connection whose turn it is, and again where it may be. That nobody knows
    /// whether it was done is remembered under its name, so one that leaves the same gets another name then.
    ///
    /// # Errors
    /// That the server does not say which run it is where that must be known; nothing was written then.
    /// The status inside is that of the write.
    pub(super) async fn write<Q, F, A>(
        &self,
        call: &'static str,
        (request, twice): (Q, Twice),
        send: F,
    ) -> Result<Result<Q::Answer, Status>>
    where
        Q: Named,
        F: Fn(Channel, Q) -> A,
        A: Future<Output = Result<Response<Q::Answer>, Status>>,
    {
        let (repeat, run) = match twice {
            _ if request.request_id().is_empty() => (Repeat::IfNotStarted, 0),
            Twice::Same => (Repeat::Always, 0),
            Twice::Differs => {
                let run = run_of(self).await;
                match run.map_err(|status| self.failed(call, &status))? {
                    Some(run) => (Repeat::Named, run.get()),
                    None => (Repeat::IfNotStarted, 0),
                }
            }
        };
        let (was_sent, is_unknown) = (AtomicBool::new(false), AtomicBool::new(false));
        let answer = self.call(repeat, |channel| {
            let mut request = request.clone();
            // The first one goes to whichever run is there.
            if was_sent.swap(true, Ordering::Relaxed) {
                request.only(run);
            }
            if twice == Twice::Same && is_unknown.load(Ordering::Relaxed) {
                request.rename(request_id());
            }
            let (sent, is_unknown) = (send(channel, request), &is_unknown);
            async move {
                let answer = sent.await;
                if let Err(status) = &answer
                    && reason_of(status) == "OUTCOME_UNKNOWN"
                {
                    is_unknown.store(true, Ordering::Relaxed);
                }
                answer
            }
        });
        let answer = answer.await;
        if let Ok(answer) = &answer {
            self.heard_of(Q::run_of(answer));
        }
        Ok(answer)
    }
}

/// Which run of the server answers, unless it keeps that to itself.
async fn run_of(pool: &Pool) -> Result<Option<NonZeroU64>, Status> {
    if let Some(run) = pool.run() {
        return Ok(Some(run));
    }
    // A commit of nothing tells, and does nothing.
    let told = pool.call(Repeat::Always, |channel| async move {
        let nothing = v1::CommitRequest::default();
        TransactionServiceClient::new(channel).commit(nothing).await
    });
    pool.heard_of(told.await?.run);
    Ok(pool.run())
}
