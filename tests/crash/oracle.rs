//! What a store may answer: kept outside of it, so that no crash of it is forgotten here.
//!
//! Every attempt to change a key has the moments between which it may have happened; one without an
//! answer may happen until the process is gone. A state is allowed when some attempt left it and no
//! acknowledged attempt lies wholly between that one and the look. After a crash, what is found is
//! the only state there is: an attempt that was not seen then must never be seen later.

use crate::support::Random;
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the oracle says of a look that nothing explains.
pub const NOT_ALLOWED: &str = "no order of what was asked explains it";

/// What stands under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Absent,
    /// The content with this id.
    Content(u64),
}

/// What was read of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// What stands there.
    pub state: State,
    /// Its version; 0 for nothing.
    pub version: u64,
}

/// An attempt that has begun.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    key: Bytes,
    number: usize,
}

#[derive(Debug, Clone, Copy)]
struct Change {
    leaves: State,
    begun: u64,
    /// When it was acknowledged.
    ended: Option<u64>,
    /// The highest version that anybody had seen when it began.
    versions_seen: u64,
}

#[derive(Debug, Default)]
struct Books {
    /// Counts moments.
    clock: u64,
    keys: HashMap<Bytes, Vec<Change>>,
    /// What each version that was seen belongs to.
    versions: HashMap<u64, (Bytes, State)>,
    version_max: u64,
    acknowledged: u64,
    unknown: u64,
}

impl Books {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub struct Oracle(Mutex<Books>);

/// The state that every key begins with.
const NEVER_WRITTEN: Change = Change {
    leaves: State::Absent,
    begun: 0,
    ended: Some(0),
    versions_seen: 0,
};

impl Oracle {
    /// Readable after a failed check too, so that the first failure is the only one.
    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt to leave `key` so. Say [`Oracle::acknowledged`] when it is.
    pub fn begin(&self, key: &Bytes, leaves: State) -> Attempt {
        let mut books = self.books();
        let begun = books.tick();
        let versions_seen = books.version_max;
        books.unknown += 1;
        let changes = books.keys.entry(key.clone());
        let changes = changes.or_insert_with(|| vec![NEVER_WRITTEN]);
        changes.push(Change {
            leaves,
            begun,
            ended: None,
            versions_seen,
        });
        Attempt {
            key: key.clone(),
            number: changes.len() - 1,
        }
    }

    /// The server said that it is done.
    pub fn acknowledged(&self, attempt: Attempt) {
        let mut books = self.books();
        let ended = books.tick();
        books.unknown -= 1;
        books.acknowledged += 1;
        let changes = books.keys.get_mut(&attempt.key).unwrap();
        changes[attempt.number].ended = Some(ended);
    }

    /// A moment, to be taken before a look.
    pub fn now(&self) -> u64 {
        self.books().tick()
    }

    /// Checks a look that began at `begun` and ends now.
    pub fn check(&self, key: &Bytes, seen: Seen, begun: u64) {
        let mut books = self.books();
        let never = [NEVER_WRITTEN];
        let changes = books.keys.get(key).map_or(&never[..], Vec::as_slice);
        assert!(
            is_allowed(changes, seen.state, begun),
            "{key:?} is {seen:?} at {begun}, {NOT_ALLOWED}: {:#?}",
            &changes[changes.len().saturating_sub(8)..]
        );
        if seen.state == State::Absent {
            return;
        }
        let left_so = changes.iter().filter(|it| it.leaves == seen.state);
        let floor = left_so.map(|it| it.versions_seen).min().unwrap();
        assert!(
            seen.version > floor,
            "{key:?} is {seen:?}, but when that was written version {floor} had been seen"
        );
        let owner = (key.clone(), seen.state);
        let first = books.versions.entry(seen.version);
        let first = first.or_insert_with(|| owner.clone());
        assert_eq!(*first, owner, "version {} was given twice", seen.version);
        books.version_max = books.version_max.max(seen.version);
    }

    /// The server named a version as its last one.
    pub fn saw_version(&self, version: u64) {
        let mut books = self.books();
        books.version_max = books.version_max.max(version);
    }

    /// What was found after a crash is what is there; nothing that was under way may follow.
    pub fn settle(&self, key: &Bytes, seen: Seen) {
        let mut books = self.books();
        let moment = books.tick();
        let found = Change {
            leaves: seen.state,
            begun: moment,
            ended: Some(moment),
            versions_seen: seen.version.saturating_sub(1),
        };
        books.keys.insert(key.clone(), vec![found]);
    }

    /// Every key that was ever written.
    pub fn keys(&self) -> Vec<Bytes> {
        self.books().keys.keys().cloned().collect()
    }

    /// Attempts that were acknowledged, and those that never were.
    pub fn figures(&self) -> (u64, u64) {
        let books = self.books();
        (books.acknowledged, books.unknown)
    }
}

fn is_allowed(changes: &[Change], state: State, begun: u64) -> bool {
    let before = |it: &&Change| it.ended.is_some_and(|ended| ended < begun);
    let last = changes.iter().filter(before).map(|it| it.begun).max();
    let last = last.unwrap_or(0);
    let may_stand = |it: &Change| it.ended.is_none_or(|ended| ended >= last);
    changes.iter().any(|it| it.leaves == state && may_stand(it))
}

/// Which keys there are, and what becomes of them.
pub struct Workload {
    /// Whether the server names the keys by their content.
    pub by_content: bool,
    /// The writer's own number.
    pub writer: u64,
    /// Its choices.
    pub random: Random,
}

/// What a writer does next.
pub enum Step {
    /// Store the content with this id under this key.
    Set(Bytes, u64),
    /// Remove a key.
    Delete(Bytes),
    /// Look at a key.
    Get(Bytes),
}

impl Workload {
    const OWN_KEYS: u64 = 4;
    const COMMON_KEYS: u64 = 12;
    const SHARED_CONTENTS: u64 = 40;
    const POOL: u64 = 150;

    /// The next step; `fresh` is an id that no content has yet.
    pub fn step(&mut self, fresh: u64) -> Step {
        let random = &mut self.random;
        let chance = random.within(0..100);
        if self.by_content {
            let id = random.within(0..Self::POOL);
            let name = || super::hex_key(&super::content::content(id));
            return match chance {
                0..=54 => Step::Set(name(), id),
                55..=84 => Step::Delete(name()),
                _ => Step::Get(name()),
            };
        }
        let key = if random.percent(70) {
            let number = random.within(0..Self::OWN_KEYS);
            format!("writer-{}/{number}", self.writer)
        } else {
            format!("common/{}", random.within(0..Self::COMMON_KEYS))
        };
        let key = Bytes::from(key);
        let id = if random.percent(40) {
            random.within(0..Self::SHARED_CONTENTS)
        } else {
            fresh
        };
        match chance {
            0..=69 => Step::Set(key, id),
            70..=84 => Step::Delete(key),
            _ => Step::Get(key),
        }
    }
}

#[test]
fn the_oracle_knows_what_is_allowed() {
    let key = Bytes::from_static(b"k");
    let oracle = Oracle::default();
    let first = oracle.begin(&key, State::Content(1));
    oracle.acknowledged(first);
    let _unknown = oracle.begin(&key, State::Content(2));
    let changes = oracle.books().keys[&key].clone();
    let now = oracle.now();
    assert!(is_allowed(&changes, State::Content(1), now));
    assert!(is_allowed(&changes, State::Content(2), now));
    assert!(!is_allowed(&changes, State::Absent, now));
    assert!(!is_allowed(&changes, State::Content(3), now));
    let seen = Seen {
        state: State::Content(1),
        version: 9,
    };
    oracle.settle(&key, seen);
    let changes = oracle.books().keys[&key].clone();
    assert!(!is_allowed(&changes, State::Content(2), oracle.now()));
}
