//! One shard's part of a batch over several: judged, planned, prepared, decided, shown. What these
//! steps mean together is said in `ballot`.
//!
//! The prepare and its decision are two frames with nothing between them, each synced before the
//! batch goes on, in every durability mode: an acknowledged group may be lost with the power where
//! that is configured, but half a batch may not be kept.

use super::batch::{Changes, Judgement, Refusal, judge, plan_operations};
use super::commit::Rows;
use super::error::ShardError;
use super::plan::PlanContext;
use super::store::{Forget, ShardStore};
use super::view::View;
use crate::codec::{Membership, Record, Role};
use crate::log::{GroupContext, Placed, aborted};
use crate::model::{Operation, Test, Timestamp, Version};

/// A part that is on the disk and not decided.
#[derive(Debug)]
pub(super) struct Prepared {
    membership: Membership,
    records: Vec<Record>,
    placed: Vec<Placed>,
    rows: Rows,
    now: Timestamp,
    bytes: u64,
}

impl Prepared {
    fn decision(&self, commit: bool) -> Membership {
        Membership {
            role: Role::Decide,
            participants: if commit {
                self.membership.participants
            } else {
                0
            },
            ..self.membership
        }
    }

    fn transaction(&self) -> Version {
        Version(self.membership.transaction)
    }
}

impl ShardStore {
    /// What tests say about the records as they are.
    pub(super) fn judge(&self, tests: &[Test], now: Timestamp) -> Result<Judgement, ShardError> {
        let context = PlanContext {
            now: now.max(self.now),
        };
        let mut view = View::new(&self.index, &self.options.homes, self.options.id);
        Ok(judge(&mut view, tests, context)?)
    }

    /// The changes of operations, and the rows of what they change.
    pub(super) fn plan_part(
        &self,
        operations: Vec<Operation>,
        now: Timestamp,
    ) -> Result<Result<(Changes, Rows), Refusal>, ShardError> {
        let context = PlanContext {
            now: now.max(self.now),
        };
        let mut view = View::new(&self.index, &self.options.homes, self.options.id);
        let planned = plan_operations(&mut view, operations, context)?;
        Ok(planned.map(|changes| (changes, view.into_rows())))
    }

    /// Says that a version will be drawn for these records. What their values need is logged first,
    /// in a group of its own: with it everything is shown that this shard has drawn versions for.
    pub(super) fn ready_to_draw(
        &mut self,
        records: &[Record],
        now: Timestamp,
    ) -> Result<(), ShardError> {
        let needed = self.dictionaries.needed_by(records);
        if !needed.is_empty() {
            self.commit(needed, Rows::new(), Forget::default(), now)?;
        }
        self.feed.draw(&self.options.counter);
        Ok(())
    }

    /// No version was drawn, or nothing will have it.
    pub(super) fn nothing_drawn(&self) {
        self.feed.show(self.log.end());
    }

    /// Appends a part, durably.
    pub(super) fn prepare(
        &mut self,
        mut records: Vec<Record>,
        mut rows: Rows,
        (transaction, participants): (Version, usize),
        now: Timestamp,
    ) -> Result<Prepared, ShardError> {
        self.number(&mut records);
        self.now = self.now.max(now);
        self.read_rows(&records, &mut rows)?;
        let membership = Membership {
            role: Role::Prepare,
            participants: u8::try_from(participants).expect("the router allows 255 shards"),
            transaction: transaction.0,
        };
        let group = self.log.prepare(&records, self.context_of(membership, now));
        let placed = group.placed.clone();
        let bytes = group.end.offset - group.start.offset;
        self.log.write(group)?;
        fail::fail_point!("transaction::written", |_| Err(super::store::crashed(
            "writing a prepare"
        )));
        self.log.sync()?;
        Ok(Prepared {
            membership,
            records,
            placed,
            rows,
            now,
            bytes,
        })
    }

    /// Appends the decision for a part, durably.
    pub(super) fn decide(&mut self, prepared: &Prepared) -> Result<(), ShardError> {
        let context = self.context_of(prepared.decision(true), prepared.now);
        let group = self.log.prepare(&[], context);
        self.log.write(group)?;
        self.log.sync()?;
        let transactions = &self.options.transactions;
        transactions.ended(prepared.transaction(), self.options.id);
        Ok(())
    }

    /// Puts a decided part into the index. Its readers wait meanwhile.
    pub(super) fn show_part(&mut self, prepared: Prepared) -> Result<(), ShardError> {
        let Prepared {
            records,
            placed,
            mut rows,
            bytes,
            ..
        } = prepared;
        let index = self.index.clone();
        let mut batch = index.batch();
        self.enter(&mut batch, &records, &placed, &mut rows);
        self.ledger.put_changes(&mut batch);
        self.show(batch, &records)?;
        self.checkpoint_after(bytes)
    }

    /// Appends the decision against a part, durably: its records say nothing.
    pub(super) fn abandon(&mut self, prepared: &Prepared) -> Result<(), ShardError> {
        for placed in &prepared.placed {
            let segment = placed.record.segment;
            self.ledger.enter_dead(segment, placed.log_size);
        }
        let word = vec![aborted(prepared.membership.transaction)];
        let decision = (prepared.decision(false), prepared.now);
        self.number_and_commit(word, Rows::new(), Forget::default(), decision)?;
        self.sync()?;
        let transactions = &self.options.transactions;
        transactions.ended(prepared.transaction(), self.options.id);
        Ok(())
    }

    fn context_of(&self, membership: Membership, now: Timestamp) -> GroupContext {
        GroupContext {
            membership,
            ..self.group_context(now)
        }
    }
}
