//! When an operator may have switched writes off, and which refusals that explains.

use crate::call::{Answer, Call, Failure};
use crate::client::now;
use crate::model::Span;
use std::sync::{Arc, Mutex};

/// What may be off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    Set,
    Delete,
}

/// From when to when something may have been off, in milliseconds since 1970.
#[derive(Debug)]
struct Window {
    switch: Switch,
    span: Span,
}

/// The switches of one life of a server. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Switches(Arc<Mutex<Vec<Window>>>);

impl Switch {
    pub const ALL: [Self; 2] = [Self::Set, Self::Delete];

    /// The reason of a refusal.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Set => "SET_DISABLED",
            Self::Delete => "DELETE_DISABLED",
        }
    }

    /// The same in zstdb's protocol.
    fn status(self) -> &'static [u8] {
        match self {
            Self::Set => b"server disabled the set action",
            Self::Delete => b"server disabled the delete action",
        }
    }

    /// Whether it is asked for a call.
    fn guards(self, call: &Call) -> bool {
        match call {
            Call::Commit(_) => true,
            Call::Delete(_) | Call::DeleteRange(_) | Call::ZstdbDelete(_) => self == Self::Delete,
            Call::Put(_)
            | Call::Touch(_)
            | Call::Increment(_)
            | Call::Upload(..)
            | Call::UploadInPart(..)
            | Call::PutContent(..)
            | Call::UpdateNamespace(_)
            | Call::ZstdbSet(_) => self == Self::Set,
            _ => false,
        }
    }

    fn is_said_by(self, answer: &Answer) -> bool {
        match answer {
            Answer::Failed(Failure::Refused(reason)) => reason == self.reason(),
            Answer::ZstdbSet(reply) | Answer::ZstdbDelete(reply) => {
                reply.errcode != 0 && reply.status == self.status()
            }
            _ => false,
        }
    }
}

impl Switches {
    /// From now on something may be off.
    pub fn begin(&self, switch: Switch) {
        let span = (now(), u64::MAX);
        self.0.lock().unwrap().push(Window { switch, span });
    }

    /// From now on all is on.
    pub fn end(&self) {
        for window in self.0.lock().unwrap().iter_mut() {
            window.span.1 = window.span.1.min(now());
        }
    }

    /// Whether an answer is a refusal of a call because something was off, and nothing was done.
    pub fn explain(&self, call: &Call, answer: &Answer, (begun, ended): Span) -> bool {
        let said = Switch::ALL.into_iter();
        let mut said = said.filter(|it| it.guards(call) && it.is_said_by(answer));
        let all = self.0.lock().unwrap();
        said.any(|switch| {
            all.iter().any(|window| {
                window.switch == switch && window.span.0 <= ended && begun <= window.span.1
            })
        })
    }
}
