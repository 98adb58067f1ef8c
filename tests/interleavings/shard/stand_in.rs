//! What stands beside the handle: a store that only counts its readers, and an actor that keeps the
//! promises of the real one, with a panic at the letter that a question chose.

/// The actor's promises: letters in order, one answer each or none because it died.
pub mod actor {
    use super::super::error::IndexVerdict;
    use super::super::handle::{BusySince, ShardHealth};
    use super::super::message::{Close, Cut, Gc, GcOutcome, Sync, Write};
    use super::meter::Meter;
    use super::snapshot::ShardSnapshot;
    use super::store::ShardStore;
    use crate::actor::{Actor, Handler};
    use crate::model::{Command, Reply, Version};
    use crate::sync::{Arc, watch};
    use real_std::any::TypeId;
    use real_std::sync::Mutex;
    use real_std::sync::atomic::{AtomicUsize, Ordering};

    /// Writes in mailboxes, and the most there ever were.
    pub static QUEUED: AtomicUsize = AtomicUsize::new(0);
    pub static QUEUED_MAX: AtomicUsize = AtomicUsize::new(0);
    /// What was committed, in order.
    pub static COMMITTED: Mutex<Vec<Command>> = Mutex::new(Vec::new());

    /// A write waits in a mailbox.
    #[derive(Debug)]
    pub struct Queued;

    impl Drop for Queued {
        fn drop(&mut self) {
            QUEUED.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[derive(Debug)]
    pub struct ShardActor {
        store: ShardStore,
        health: watch::Sender<ShardHealth>,
        ended: bool,
    }

    impl ShardActor {
        pub fn new(
            store: ShardStore,
            health: watch::Sender<ShardHealth>,
            _: Arc<BusySince>,
            _: Arc<Meter>,
        ) -> Self {
            let ended = store.dies_at == 0;
            if ended {
                fail(&health);
            }
            Self {
                store,
                health,
                ended,
            }
        }
    }

    fn fail(health: &watch::Sender<ShardHealth>) {
        health.send_replace(ShardHealth::Failed {
            cause: "its actor panicked".into(),
            index: IndexVerdict::Sound,
        });
    }

    impl Actor for ShardActor {
        fn has_ended(&self) -> bool {
            self.ended
        }

        type Waiting = Option<Queued>;

        fn sent(letter: TypeId) -> Self::Waiting {
            (letter == TypeId::of::<Write>()).then(|| {
                let queued = QUEUED.fetch_add(1, Ordering::SeqCst) + 1;
                QUEUED_MAX.fetch_max(queued, Ordering::SeqCst);
                Queued
            })
        }
    }

    impl Handler<Write> for ShardActor {
        fn handle(&mut self, write: Write) {
            self.store.dies_at -= 1;
            if self.store.dies_at == 0 {
                // It may die before or after the commit.
                if shuttle::rand::Rng::r#gen(&mut shuttle::rand::thread_rng()) {
                    COMMITTED.lock().unwrap().push(write.command);
                }
                self.ended = true;
                return fail(&self.health);
            }
            COMMITTED.lock().unwrap().push(write.command);
            let _ = write.reply.send(Ok(Reply::Unchanged {
                version: Version(0),
            }));
        }
    }

    impl Handler<Cut> for ShardActor {
        fn handle(&mut self, cut: Cut) {
            cut.gate.park();
            let _ = cut.reply.send(Ok(ShardSnapshot));
        }
    }

    impl Handler<Sync> for ShardActor {
        fn handle(&mut self, message: Sync) {
            let _ = message.reply.send(Ok(()));
        }
    }

    impl Handler<Gc> for ShardActor {
        fn handle(&mut self, message: Gc) {
            let _ = message.reply.send(Ok(GcOutcome::default()));
        }
    }

    impl Handler<Close> for ShardActor {
        fn handle(&mut self, message: Close) {
            self.ended = true;
            let _ = message.reply.send(Ok(()));
        }
    }
}

pub mod meter {
    #[derive(Debug, Default)]
    pub struct Meter;

    #[derive(Debug, Clone, Default)]
    pub struct GroupStats;

    impl Meter {
        pub fn read(&self) -> GroupStats {
            GroupStats
        }
    }
}

pub mod reader {
    /// One opening of the store, for reading.
    #[derive(Debug)]
    pub struct ShardReader {
        pub opening: u32,
    }
}

pub mod snapshot {
    #[derive(Debug)]
    pub struct ShardSnapshot;
}

pub mod store {
    use super::reader::ShardReader;

    /// One opening of the store.
    #[derive(Debug)]
    pub struct ShardStore {
        pub opening: u32,
        /// The actor dies at the write with this number; 0: as soon as it starts.
        pub dies_at: u32,
    }

    impl ShardStore {
        pub fn reader(&self) -> ShardReader {
            ShardReader {
                opening: self.opening,
            }
        }
    }
}
