//! fjall's journals. A batch is `start(items, seqno)`, items, `end(checksum, trailer)`; the checksum
//! covers the items only (fjall 3.1.13, `journal/entry.rs`). A flipped bit in a `seqno` therefore
//! passes, and makes an old row win over a new one. And a journal that is damaged in its middle is
//! cut there in silence; where a later one follows, rows are missing that the index believes in.
//!
//! Batches are written in the order of their sequence numbers, so these must rise from the first
//! batch of the oldest journal to the last of the newest; and every journal but the newest, whose
//! end a crash may have torn, must be whole. fjall draws sequence numbers for its own purposes too,
//! so a gap in them says nothing; our own numbers of the batches, in the state row of each, have
//! none: of the batches that are not in the tables, the first follows on the tables, and each on
//! the one before.

use super::tables::Tables;
use super::{failed, unread};
use crate::index::database::STATE_ROW;
use crate::index::{IndexError, IndexState};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3Default;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
/// Behind the checksum of an `end`.
const TRAILER: [u8; 4] = *b"FJL\x03";
/// Of an item: value type, compression, keyspace, and the lengths of key, value, stored value.
const ITEM_SIZE: usize = 20;
/// No state row is longer.
const STATE_SIZE_MAX: u32 = 1024;

/// Checks the journals in a database's folder, whose rows are in the tree of this number.
///
/// # Errors
/// `File` when a journal is damaged or missing where fjall would not see it, `Database` when the
/// system does not let it be read.
pub(super) fn check(dir: &Path, tree: u64, tables: Tables) -> Result<(), IndexError> {
    let journals = list(dir)?;
    let Some(newest) = journals.keys().next_back().copied() else {
        return Err(failed(dir, &"its journals are missing"));
    };
    let mut order = Order::behind(tree, tables);
    for (id, path) in &journals {
        let file = File::open(path).map_err(|error| unread(path, error))?;
        let mut reader = BufReader::new(file);
        let is_whole = loop {
            match next_batch(&mut reader) {
                Next::Batch(batch) => order.take(&batch).map_err(|what| failed(path, &what))?,
                Next::End => break is_rest_zero(&mut reader).map_err(|e| unread(path, e))?,
                Next::Torn => break false,
            }
        };
        if newest != *id && !is_whole {
            return Err(failed(path, &"damaged before its end"));
        }
    }
    Ok(())
}

fn list(dir: &Path) -> Result<BTreeMap<u64, PathBuf>, IndexError> {
    let mut journals = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(|error| unread(dir, error))? {
        let path = entry.map_err(|error| unread(dir, error))?.path();
        let id = path
            .file_stem()
            .and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(id) = id.filter(|_| path.extension().is_some_and(|ext| ext == "jnl")) {
            journals.insert(id, path);
        }
    }
    Ok(journals)
}

/// What is to come in the journals.
struct Order {
    tree: u64,
    /// The highest sequence number in the tables.
    applied: Option<u64>,
    /// The sequence number of the last batch in the journals.
    last: Option<u64>,
    /// Our number of the last batch in tables and journals.
    number: u64,
}

impl Order {
    fn behind(tree: u64, tables: Tables) -> Self {
        Self {
            tree,
            applied: tables.seqno,
            last: None,
            number: tables.batch,
        }
    }

    fn take(&mut self, batch: &Batch) -> Result<(), &'static str> {
        if self.last.is_some_and(|last| last >= batch.seqno) {
            return Err("a batch is out of order");
        }
        self.last = Some(batch.seqno);
        if batch.trees.iter().any(|tree| *tree != self.tree) {
            return Err("a batch of another index");
        }
        if self.applied.is_some_and(|applied| applied >= batch.seqno) {
            return Ok(());
        }
        match batch.number {
            // Of an older program, which gave no numbers.
            None if self.number == 0 => {}
            None => return Err("a batch without its number"),
            Some(number) if number == self.number + 1 => self.number = number,
            Some(_) => return Err("the batches before it are missing"),
        }
        Ok(())
    }
}

/// A batch that is whole.
#[derive(Debug, Default)]
struct Batch {
    seqno: u64,
    /// The tree of each run of items.
    trees: Vec<u64>,
    number: Option<u64>,
}

/// What comes next in a journal.
enum Next {
    Batch(Batch),
    /// Space that was never written to.
    End,
    /// Neither.
    Torn,
}

fn next_batch(reader: &mut BufReader<File>) -> Next {
    match array(reader) {
        None | Some([0]) => Next::End,
        Some([START]) => rest_of_batch(reader).map_or(Next::Torn, Next::Batch),
        Some(_) => Next::Torn,
    }
}

/// A batch, if it goes on to its end and is what was written.
fn rest_of_batch(reader: &mut BufReader<File>) -> Option<Batch> {
    let items = u32::from_le_bytes(array(reader)?);
    let mut batch = Batch {
        seqno: u64::from_le_bytes(array(reader)?),
        ..Batch::default()
    };
    let mut sum = Xxh3Default::new();
    for _ in 0..items {
        item(reader, &mut sum, &mut batch)?;
    }
    let is_whole = array(reader)? == [END]
        && u64::from_le_bytes(array(reader)?) == sum.digest()
        && array(reader)? == TRAILER;
    is_whole.then_some(batch)
}

fn item(reader: &mut BufReader<File>, sum: &mut Xxh3Default, batch: &mut Batch) -> Option<()> {
    let [tag] = array(reader)?;
    let header: [u8; ITEM_SIZE] = array(reader)?;
    sum.update(&[tag]);
    sum.update(&header);
    let [_, _, tree @ .., k0, k1, _, _, _, _, s0, s1, s2, s3] = header;
    let (tree, key) = (u64::from_le_bytes(tree), u16::from_le_bytes([k0, k1]));
    let stored = u32::from_le_bytes([s0, s1, s2, s3]);
    if batch.trees.last() != Some(&tree) {
        batch.trees.push(tree);
    }
    if usize::from(key) == STATE_ROW.len() && stored <= STATE_SIZE_MAX {
        let mut row = vec![0; STATE_ROW.len() + stored as usize];
        reader.read_exact(&mut row).ok()?;
        sum.update(&row);
        let state = row.strip_prefix(STATE_ROW);
        batch.number = state.and_then(IndexState::batch_number).or(batch.number);
    } else {
        pass(reader, sum, u64::from(key) + u64::from(stored))?;
    }
    (tag == ITEM).then_some(())
}

fn array<const N: usize>(reader: &mut BufReader<File>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Goes on by so many bytes, which are part of a checksum.
fn pass(reader: &mut BufReader<File>, sum: &mut Xxh3Default, mut count: u64) -> Option<()> {
    while count > 0 {
        let bytes = reader.fill_buf().ok().filter(|bytes| !bytes.is_empty())?;
        let taken = bytes
            .len()
            .min(usize::try_from(count).unwrap_or(usize::MAX));
        sum.update(&bytes[..taken]);
        reader.consume(taken);
        count -= taken as u64;
    }
    Some(())
}

/// Journals are taken from the filesystem whole, so zeros stand behind what was written.
fn is_rest_zero(reader: &mut BufReader<File>) -> std::io::Result<bool> {
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.is_empty() {
            return Ok(true);
        }
        if bytes.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        let len = bytes.len();
        reader.consume(len);
    }
}
