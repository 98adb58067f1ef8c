//! What is asked about the handle, the cut, the pins and the epochs.

use super::actor::{COMMITTED, QUEUED, QUEUED_MAX};
use super::cut::CutGate;
use super::epoch::Epochs;
use super::handle::{ShardHandle, ShardHealth};
use super::pin;
use super::store::ShardStore;
use crate::actor::ActorRuntime;
use crate::codec::{Kind, Record};
use crate::collections::BTreeMap;
use crate::config::Admission;
use crate::doors::fault::{self, Fault};
use crate::index::{Place, Row};
use crate::log::{self, Position, Segment, SegmentMap, SharedSegments};
use crate::model::{Command, Error, Key, SegmentId, ShardId, Timestamp};
use crate::sync::{Arc, Mutex, Weak, atomic};
use crate::time::Duration;
use bytes::Bytes;
use real_std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use shuttle::future::block_on;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::thread;

/// Three shards park at a gate, one of whom another may not wait for: if the cut comes about, its
/// moment lies in the stay of each.
pub fn a_cut_is_one_moment() {
    const SHARDS: usize = 3;
    let missing = usize::from(fault::is(Fault::GateOpensEarly));
    let gate = CutGate::new(SHARDS - missing, Duration::from_secs(3600));
    let parked = Arc::new(AtomicUsize::new(0));
    let shards: Vec<_> = (0..SHARDS)
        .map(|_| {
            let (gate, parked) = (gate.clone(), parked.clone());
            thread::spawn(move || {
                thread::yield_now();
                parked.fetch_add(1, Ordering::SeqCst);
                let came_about = gate.park();
                parked.fetch_sub(1, Ordering::SeqCst);
                came_about
            })
        })
        .collect();
    let quitter = thread_rng().gen_bool(0.3).then(|| {
        let gate = gate.clone();
        thread::spawn(move || gate.give_up())
    });
    let seen = gate.hold(|| {
        let seen = parked.load(Ordering::SeqCst);
        thread::yield_now();
        seen.min(parked.load(Ordering::SeqCst))
    });
    let answers: Vec<bool> = shards.into_iter().map(|it| it.join().unwrap()).collect();
    if answers.iter().all(|came_about| *came_about) {
        assert_eq!(seen, Some(SHARDS), "a shard was not at the cut");
    }
    assert!(quitter.is_some() || seen.is_some(), "nobody gave up");
    if let Some(quitter) = quitter {
        quitter.join().unwrap();
    }
}

/// An index of one key: its row.
type OneRow = Arc<Mutex<Option<Row>>>;

fn row(segment: u64) -> Row {
    let record = Record::bookkeeping(Kind::Value, Bytes::from_static(b"key"), Bytes::new());
    let place = Place {
        record: Position {
            segment: SegmentId(segment),
            offset: 0,
        },
        payload_offset: 0,
        payload_len: 0,
    };
    Row::new(&record, place, None)
}

fn segment(id: u64) -> Arc<Segment> {
    Arc::new(Segment {
        id: SegmentId(id),
        unlinked: atomic::AtomicBool::new(false),
    })
}

/// GC moves a record twice, through segments that come and go; readers pin and read meanwhile.
/// Whatever a row names is there when it is read.
pub fn a_pinned_segment_stays() {
    let first = BTreeMap::from([(SegmentId(1), segment(1))]);
    let shared: SharedSegments = Arc::new(crate::ArcSwap::from_pointee(first));
    let index: OneRow = Arc::new(Mutex::new(Some(row(1))));
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let (shared, index) = (shared.clone(), index.clone());
            thread::spawn(move || {
                for _ in 0..2 {
                    read(&shared, &index);
                }
            })
        })
        .collect();
    for next in 2..4 {
        log::add(&shared, &segment(next));
        *index.lock().unwrap() = Some(row(next));
        purge(&shared, next - 1);
    }
    for reader in readers {
        reader.join().unwrap();
    }
}

fn read(shared: &SharedSegments, index: &OneRow) {
    let look = || Ok(index.lock().unwrap().clone());
    let (row, pinned) = pin::find(shared, look).unwrap().expect("it never goes");
    let named: Option<&Arc<Segment>> = SegmentMap::get(&pinned, &row.place.record.segment);
    let named = named.expect("a row names a segment that is not there");
    thread::yield_now();
    assert!(
        !named.unlinked.load(Ordering::SeqCst),
        "unlinked under a reader"
    );
}

/// The last steps of GC, as the store takes them.
fn purge(shared: &SharedSegments, id: u64) {
    let segment = shared.load_full()[&SegmentId(id)].clone();
    let goes = if fault::is(Fault::PinsNotCounted) {
        log::retire(shared, segment.id()).is_some()
    } else {
        log::retire_unread(shared, segment.id())
    };
    if goes {
        segment.unlinked.store(true, Ordering::SeqCst);
    }
}

/// A writer commits a key while a reader looks for it twice: what was seen first is believed only
/// if nothing newer can have been seen since, and never by a writer who comes after the commit.
pub fn what_was_seen_is_believed_while_it_lasts() {
    let key = Bytes::from_static(b"key");
    let epochs = Epochs::new();
    let index = Arc::new(Mutex::new(false));
    let looked = {
        let (epochs, index, key) = (epochs.clone(), index.clone(), key.clone());
        thread::spawn(move || {
            let then = epochs.now();
            let before = *index.lock().unwrap();
            let after = *index.lock().unwrap();
            if epochs.is_unchanged(&key, then) {
                assert_eq!(before, after, "it had changed by then");
            }
            (!before).then_some(then)
        })
    };
    let records = [Record::bookkeeping(Kind::Value, key.clone(), Bytes::new())];
    let is_late = fault::is(Fault::AnnouncedTooLate);
    if !is_late {
        epochs.announce(&records);
    }
    *index.lock().unwrap() = true;
    if is_late {
        epochs.announce(&records);
    }
    epochs.advance();
    if let Some(then) = looked.join().unwrap() {
        assert!(!epochs.is_unchanged(&key, then), "it is there by now");
    }
}

/// Requests that a shard takes at a time.
const REQUESTS: usize = 2;

fn delete(name: String) -> Command {
    let key = Key::new(name.as_bytes()).unwrap();
    Command::Delete {
        key,
        condition: None,
    }
}

/// Writers and a reader use a handle whose actor dies now and then, at once or at any write; a
/// keeper opens the shard again. Each write has one outcome, that outcome is true, no more are
/// admitted than may be, and the store is never opened beside a reader of its last opening.
pub fn a_handle_survives_its_actors() {
    COMMITTED
        .lock()
        .unwrap_or_else(|it| it.into_inner())
        .clear();
    QUEUED.store(0, Ordering::SeqCst);
    QUEUED_MAX.store(0, Ordering::SeqCst);
    let admission = Admission {
        requests_per_shard: REQUESTS,
        bytes_in_flight: 1 << 20,
    };
    let handle = Arc::new(ShardHandle::new(ShardId(0), &admission));
    let opening = Arc::new(AtomicU32::new(0));
    open(&handle, &opening);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let handle = handle.clone();
            thread::spawn(move || write(&handle, writer))
        })
        .collect();
    let over = Arc::new(AtomicBool::new(false));
    let reader = {
        let (handle, opening) = (handle.clone(), opening.clone());
        thread::spawn(move || {
            if let Ok(reader) = handle.reader() {
                thread::yield_now();
                let now = opening.load(Ordering::SeqCst);
                assert_eq!(reader.opening, now, "reopened under a reader");
            }
        })
    };
    let keeper = {
        let (handle, opening, over) = (handle.clone(), opening.clone(), over.clone());
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                keep(&handle, &opening);
                thread::yield_now();
            }
        })
    };
    for writer in writers {
        writer.join().unwrap();
    }
    reader.join().unwrap();
    over.store(true, Ordering::SeqCst);
    keeper.join().unwrap();
    assert!(
        QUEUED_MAX.load(Ordering::SeqCst) <= REQUESTS,
        "too many were admitted"
    );
    let (closed, released) = block_on(handle.close());
    closed.unwrap();
    assert!(released.is_none_or(|it| it.upgrade().is_none()));
}

/// Opens the shard; its actor dies at a write that chance chooses, or at none.
fn open(handle: &ShardHandle, opening: &AtomicU32) {
    let opening = opening.fetch_add(1, Ordering::SeqCst) + 1;
    // Three lives are enough; the last is a long one.
    let dies_at = if opening > 3 {
        u32::MAX
    } else {
        thread_rng().gen_range(0..4)
    };
    handle.start(ShardStore { opening, dies_at }, &ActorRuntime);
}

/// What the supervisor does: an actor that has failed is closed, let go of, and replaced.
fn keep(handle: &ShardHandle, opening: &AtomicU32) {
    let health = handle.health().borrow().clone();
    if !matches!(health, ShardHealth::Failed { .. }) {
        return;
    }
    handle.set_health(ShardHealth::Opening);
    let (_, released) = block_on(handle.close());
    handle.set_health(ShardHealth::Opening);
    while released.as_ref().and_then(Weak::upgrade).is_some() {
        thread::yield_now();
    }
    open(handle, opening);
}

/// Two writes, each tried until its outcome is known to be good.
fn write(handle: &ShardHandle, writer: u32) {
    for number in 0..2 {
        for attempt in 0.. {
            let name = format!("{writer}/{number}/{attempt}");
            let answer = block_on(handle.write(delete(name.clone()), Timestamp(0)));
            let committed = COMMITTED.lock().unwrap().clone();
            let times = committed.iter().filter(|it| **it == delete(name.clone()));
            let times = times.count();
            match answer.map_err(|error: Error| error.reason()) {
                Ok(_) => assert_eq!(times, 1, "{name} was acknowledged"),
                Err("OUTCOME_UNKNOWN") => assert!(times <= 1, "{name} twice"),
                Err("SHARD_OPENING") => assert_eq!(times, 0, "{name} was refused"),
                Err(other) => panic!("{other}"),
            }
            if times == 1 {
                break;
            }
            thread::yield_now();
        }
    }
}
