//! What a worker sends next, made from parts that are ready beforehand.

use super::piece::PieceRing;
use super::value::{Noise, Ring, digits};
use crate::client;
use crate::model::{Chunk, Digest};
use crate::proto::zstdb::Item;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is done to the server.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Work {
    /// Reads of values that are there, each as likely as the others.
    Get,
    /// Writes of values that were never there.
    Set,
    /// Writes of values that are there.
    SetDuplicate,
    /// One write of each value that will be there for `SetDuplicate`.
    SetEach,
    /// Reads of so many values at once, each as likely as the others.
    BatchGet {
        /// Values of one request.
        keys: usize,
    },
    /// Reads of all that is there, in order.
    Scan,
    /// Writes of values in streams that were never there.
    Upload,
    /// Reads of values in streams.
    Download,
    /// Writes of a large value that is there, which is asked for first.
    Resend,
    /// Reads with this share (0 to 1), and writes of new values.
    Mixed {
        /// The share of reads.
        read_share: f64,
    },
}

impl Work {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Set => "set",
            Self::SetDuplicate => "set-duplicate",
            Self::SetEach => "set-each",
            Self::BatchGet { .. } => "batch-get",
            Self::Scan => "scan",
            Self::Upload => "upload",
            Self::Download => "download",
            Self::Resend => "find-missing",
            Self::Mixed { .. } => "mixed",
        }
    }

    /// Whether a request is a stream, or about one.
    #[must_use]
    pub fn is_large(self) -> bool {
        matches!(self, Self::Upload | Self::Download | Self::Resend)
    }

    /// Values that each request moves, when so many are there.
    #[must_use]
    pub fn values(self, there: u64) -> u64 {
        match self {
            Self::BatchGet { keys } => keys as u64,
            Self::Scan => there,
            _ => 1,
        }
    }
}

/// What is on the server before the measurement, as requests; shared by all workers.
#[derive(Debug)]
pub struct Stock {
    /// The keys.
    pub keys: Vec<Bytes>,
    /// The write of each value again.
    pub duplicates: Vec<Item>,
    /// Whose turn it is in `SetEach`.
    pub turn: AtomicUsize,
    /// The value of `Resend`.
    pub resent: Arc<(Digest, Vec<Chunk>)>,
}

impl Default for Stock {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            duplicates: Vec::new(),
            turn: AtomicUsize::new(0),
            resent: Arc::new((Digest([0; Digest::SIZE]), Vec::new())),
        }
    }
}

/// A request.
pub enum Call {
    /// Read this key.
    Get(Item),
    /// Store this value.
    Set(Item),
    /// Read in a way that only the native protocol has.
    Read(client::Call),
    /// Write in such a way.
    Write(client::Call),
}

/// One worker's requests.
#[derive(Debug)]
pub struct Source {
    work: Work,
    stock: Arc<Stock>,
    ring: Ring,
    noise: Noise,
    user_keys: bool,
    /// Of writes in streams, and their size.
    pieces: Option<(PieceRing, u64)>,
    keys: Option<Vec<Bytes>>,
}

impl Source {
    /// Requests of a kind of work. `user_keys`: whether writes name their keys.
    #[must_use]
    pub fn new(work: Work, stock: Arc<Stock>, ring: Ring, user_keys: bool) -> Self {
        Self {
            work,
            stock,
            noise: Noise(ring.draw()),
            ring,
            user_keys,
            pieces: None,
            keys: None,
        }
    }

    /// The same, with pieces for writes in streams of values of `size` bytes.
    #[must_use]
    pub fn in_pieces(mut self, pieces: PieceRing, size: u64) -> Self {
        self.pieces = Some((pieces, size));
        self
    }

    /// The same, and it remembers the keys under which its writes were stored.
    #[must_use]
    pub fn collecting(mut self) -> Self {
        self.keys = Some(Vec::new());
        self
    }

    /// The next request.
    pub fn call(&mut self) -> Call {
        match self.work {
            Work::Get => self.get(),
            Work::Set => self.set(),
            Work::SetDuplicate => {
                let at = self.noise.below(self.stock.duplicates.len());
                self.duplicate(at)
            }
            Work::SetEach => {
                let turn = self.stock.turn.fetch_add(1, Ordering::Relaxed);
                self.duplicate(turn % self.stock.duplicates.len())
            }
            Work::BatchGet { keys } => Call::Read(client::Call::BatchGet(
                (0..keys).map(|_| self.some_key()).collect(),
            )),
            Work::Scan => Call::Read(client::Call::Scan),
            Work::Download => Call::Read(client::Call::Download(self.some_key())),
            Work::Upload => Call::Write(self.upload()),
            Work::Resend => {
                let resent = Arc::clone(&self.stock.resent);
                Call::Write(client::Call::Resend(self.key(), resent))
            }
            Work::Mixed { read_share } if self.noise.share() < read_share => self.get(),
            Work::Mixed { .. } => self.set(),
        }
    }

    fn get(&mut self) -> Call {
        Call::Get(Item {
            key: self.some_key(),
            ..Item::default()
        })
    }

    fn some_key(&mut self) -> Bytes {
        let at = self.noise.below(self.stock.keys.len());
        self.stock.keys[at].clone()
    }

    fn upload(&self) -> client::Call {
        let pieces = self.pieces.as_ref();
        let (pieces, size) = pieces.expect("sources of this work are made with pieces");
        client::Call::Upload(self.key(), *size, pieces.value(*size))
    }

    /// The key of a write.
    fn key(&self) -> Bytes {
        match self.user_keys {
            true => new_key(self.ring.draw()),
            false => Bytes::new(),
        }
    }

    fn duplicate(&mut self, at: usize) -> Call {
        let mut item = self.stock.duplicates[at].clone();
        if self.user_keys {
            item.key = new_key(self.ring.draw());
        }
        Call::Set(item)
    }

    fn set(&mut self) -> Call {
        let (data, sum64) = self.ring.fresh();
        Call::Set(Item {
            key: self.key(),
            data,
            ver64: 0,
            sum64,
        })
    }

    /// Takes note of a write's answer.
    pub fn stored(&mut self, key: &Bytes) {
        if let Some(keys) = &mut self.keys {
            // A copy, so that no key keeps a network frame alive.
            keys.push(Bytes::copy_from_slice(key));
        }
    }

    /// The keys that were collected.
    pub fn take_keys(&mut self) -> Vec<Bytes> {
        self.keys.take().unwrap_or_default()
    }
}

fn new_key(number: u64) -> Bytes {
    Bytes::from([&b"bench-"[..], &digits(number)].concat())
}

#[cfg(test)]
mod tests {
    use super::super::value::{Stamps, ValueKind};
    use super::*;

    fn source(work: Work, user_keys: bool) -> Source {
        let ring = Ring::new(ValueKind::Random, 64, 4, Stamps::new(1));
        let item = |name: &'static str| Item {
            key: Bytes::from_static(name.as_bytes()),
            ..Item::default()
        };
        let stock = Stock {
            keys: vec![Bytes::from_static(b"a"), Bytes::from_static(b"b")],
            duplicates: vec![item("")],
            ..Stock::default()
        };
        Source::new(work, Arc::new(stock), ring, user_keys)
    }

    #[test]
    fn reads_go_over_all_keys() {
        let mut source = source(Work::Get, false);
        let mut seen = [false; 2];
        for _ in 0..100 {
            let Call::Get(item) = source.call() else {
                panic!("a read sends reads")
            };
            seen[usize::from(item.key == "b")] = true;
        }
        assert_eq!(seen, [true, true]);
    }

    #[test]
    fn a_mix_has_about_the_share_it_was_asked_for() {
        let mut source = source(Work::Mixed { read_share: 0.8 }, false);
        let reads = (0..1000)
            .filter(|_| matches!(source.call(), Call::Get(_)))
            .count();
        assert!((700..900).contains(&reads), "{reads}");
    }

    #[test]
    fn user_keys_are_new_and_content_keys_are_left_to_the_server() {
        let key = |source: &mut Source| match source.call() {
            Call::Set(item) => item.key,
            _ => panic!("a write sends writes"),
        };
        for work in [Work::Set, Work::SetDuplicate] {
            let mut named = source(work, true);
            assert_ne!(key(&mut named), key(&mut named));
            assert!(key(&mut source(work, false)).is_empty());
        }
    }
}
