//! Changes as they come, over breaks of the connection.
//!
//! A stream that breaks is gone on with by another one after the last version up to which everything
//! was told. The changes of one commit may need more than one message; they are kept back until all
//! of them are there, so that none is told twice and no commit in halves.

use super::entry::Entry;
use super::error::reason_of;
use super::retry::Repeat;
use super::{Keyspace, Query, Result};
use crate::model::Version;
use crate::proto::v1;
use crate::proto::v1::watch_service_client::WatchServiceClient;
use bytes::Bytes;
use tonic::{Code, Response, Status, Streaming};

/// A change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// The version that the change took.
    pub version: Version,
    /// What became of the key.
    pub kind: ChangeKind,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// It has another value, expiry or metadata.
    Put {
        /// What is known of the value.
        entry: Box<Entry>,
        /// The value, where values are asked for and it is small and stands with its key; others
        /// are to be read with a get.
        value: Option<Bytes>,
    },
    /// It was deleted.
    Deleted,
    /// It was removed because it had expired.
    Expired,
}

/// What a watch has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The changes in the order of their versions; none in a step that only tells how far the watch
    /// is.
    pub changes: Vec<Change>,
    /// Every change up to this version was told: where another watch goes on.
    pub version: Version,
}

/// A watch in progress.
#[derive(Debug)]
pub struct Changes {
    keyspace: Keyspace,
    request: v1::WatchRequest,
    /// `None` after a break.
    messages: Option<Streaming<v1::WatchResponse>>,
    /// Where the watch began.
    first: Option<Step>,
    /// Changes of a commit that is not there as a whole.
    pending: Vec<Change>,
    /// Tries since something came.
    tries: usize,
}

impl Keyspace {
    /// Watches the keys of a query from now on, or after a version: of a snapshot, a put, or the
    /// last that another watch has told. Of the query, the selection counts and whether values are
    /// asked for. The first step comes at once and says where the watch begins.
    ///
    /// # Errors
    /// [`Conflict`](super::ClientError::Conflict) where the log does not hold the changes any more,
    /// [`Gone`](super::ClientError::Gone) for the namespace, and those of every call.
    pub async fn watch(&self, query: Query, after: Option<Version>) -> Result<Changes> {
        let mut changes = Changes {
            keyspace: self.clone(),
            request: v1::WatchRequest {
                namespace: self.namespace.clone(),
                selection: Some(query.selection()),
                after_version: after.map(|version| version.0),
                include_values: query.with_values,
                progress_interval: None,
            },
            messages: None,
            first: None,
            pending: Vec::new(),
            tries: 0,
        };
        // Where a watch from now on begins is in the first message: it is waited for here, so that a
        // break after it leaves nothing out.
        let begun = self.pool.call(Repeat::Always, |channel| {
            let request = changes.request.clone();
            async move {
                let begun = WatchServiceClient::new(channel).watch(request).await?;
                let mut messages = begun.into_inner();
                let first = next_of(&mut messages).await?;
                Ok(Response::new((messages, first)))
            }
        });
        let begun = begun.await;
        let (messages, first) = begun.map_err(|status| self.pool.failed("watch", &status))?;
        changes.first = changes.take(first);
        changes.messages = Some(messages);
        Ok(changes)
    }
}

impl Changes {
    /// Waits for what comes next. May be dropped and called again. A watch that was cut off goes on
    /// by itself, as long as the server comes back within a few seconds.
    ///
    /// # Errors
    /// As [`Keyspace::watch`]; the watch is over then, and another one goes on after the version of
    /// the last step.
    pub async fn next(&mut self) -> Result<Step> {
        if let Some(first) = self.first.take() {
            return Ok(first);
        }
        loop {
            match self.message().await {
                Ok(message) => {
                    self.tries = 0;
                    if let Some(step) = self.take(message) {
                        return Ok(step);
                    }
                }
                Err(status) => self.pause(&status).await?,
            }
        }
    }

    async fn message(&mut self) -> Result<v1::WatchResponse, Status> {
        if self.messages.is_none() {
            self.pending.clear();
            let mut wire = WatchServiceClient::new(self.keyspace.pool.next());
            let begun = wire.watch(self.request.clone()).await?;
            self.messages = Some(begun.into_inner());
        }
        let messages = self.messages.as_mut().expect("it was just opened");
        next_of(messages).await
    }

    /// What is complete with a message.
    fn take(&mut self, message: v1::WatchResponse) -> Option<Step> {
        let version = Version(message.version);
        let is_first = self.messages.is_none();
        let is_news = self.request.after_version != Some(version.0);
        self.pending
            .extend(message.events.into_iter().map(change_of));
        let complete = self.pending.partition_point(|it| it.version <= version);
        let changes: Vec<Change> = self.pending.drain(..complete).collect();
        self.request.after_version = Some(version.0);
        (is_news || is_first || !changes.is_empty()).then_some(Step { changes, version })
    }

    /// Waits until the watch may be gone on with.
    async fn pause(&mut self, status: &Status) -> Result<()> {
        self.messages = None;
        // One that was too slow for what it was sent has all the time now.
        let is_slow = status.code() == Code::Aborted && reason_of(status) == "WATCH_TOO_SLOW";
        if !is_slow {
            self.keyspace
                .pool
                .pause("watch", status, self.tries)
                .await?;
        }
        self.tries += 1;
        Ok(())
    }
}

async fn next_of(messages: &mut Streaming<v1::WatchResponse>) -> Result<v1::WatchResponse, Status> {
    let message = messages.message().await?;
    message.ok_or_else(|| Status::unavailable("the watch ended without a word"))
}

fn change_of(event: v1::WatchEvent) -> Change {
    let kind = match event.r#type() {
        v1::WatchEventType::Delete => ChangeKind::Deleted,
        v1::WatchEventType::Expire => ChangeKind::Expired,
        v1::WatchEventType::Put | v1::WatchEventType::Unspecified => ChangeKind::Put {
            entry: Box::new(Entry::of(event.entry.unwrap_or_default())),
            value: event.value_included.then_some(event.value),
        },
    };
    Change {
        key: event.key,
        version: Version(event.version),
        kind,
    }
}
