//! fjall's journals. A batch is `start(items, seqno)`, items, `end(checksum, trailer)`; the checksum
//! covers the items only (fjall 3.1.13, `journal/entry.rs`). A flipped bit in a `seqno` therefore
//! passes, and makes an old row win over a new one. And a journal that is damaged in its middle is
//! cut there in silence; where a later one follows, rows are missing that the index believes in.
//!
//! Batches are written in the order of their numbers, so these must rise from the first batch of
//! the oldest journal to the last of the newest; and every journal but the newest, whose end a
//! crash may have torn, must be whole.

use super::{failed, unread};
use crate::index::IndexError;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// Of an `end`: checksum and trailer.
const END_SIZE: u64 = 12;
/// Of a `clear`: the keyspace.
const CLEAR_SIZE: u64 = 8;
/// Of an item: value type, compression, keyspace, and the lengths of key, value, stored value.
const ITEM_SIZE: usize = 20;

/// Checks the journals in a database's folder.
///
/// # Errors
/// `File` when a journal is damaged where fjall would not see it, `Database` when the system does
/// not let it be read.
pub(super) fn check(dir: &Path) -> Result<(), IndexError> {
    let journals = list(dir)?;
    let newest = journals.keys().next_back().copied();
    let mut last = None;
    for (id, path) in &journals {
        let file = File::open(path).map_err(|error| unread(path, error))?;
        let mut reader = BufReader::new(file);
        let is_whole = loop {
            let seqno = match next_batch(&mut reader) {
                Next::Batch(seqno) => seqno,
                Next::End => break is_rest_zero(&mut reader).map_err(|e| unread(path, e))?,
                Next::Torn => break false,
            };
            if last.is_some_and(|last| last >= seqno) {
                return Err(failed(path, &"a batch is out of order"));
            }
            last = Some(seqno);
        };
        if newest != Some(*id) && !is_whole {
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

/// What comes next in a journal.
enum Next {
    /// A batch and its sequence number.
    Batch(u64),
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

/// The sequence number of a batch, if it goes on to its end.
fn rest_of_batch(reader: &mut BufReader<File>) -> Option<u64> {
    let _items: [u8; 4] = array(reader)?;
    let seqno = u64::from_le_bytes(array(reader)?);
    loop {
        let [tag] = array(reader)?;
        let skipped = match tag {
            ITEM => {
                let header: [u8; ITEM_SIZE] = array(reader)?;
                let key = u16::from_le_bytes([header[10], header[11]]);
                let stored = [header[16], header[17], header[18], header[19]];
                u64::from(key) + u64::from(u32::from_le_bytes(stored))
            }
            CLEAR => CLEAR_SIZE,
            END => END_SIZE,
            _ => return None,
        };
        skip(reader, skipped)?;
        if tag == END {
            return Some(seqno);
        }
    }
}

fn array<const N: usize>(reader: &mut BufReader<File>) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn skip(reader: &mut BufReader<File>, count: u64) -> Option<()> {
    let skipped = std::io::copy(&mut reader.by_ref().take(count), &mut std::io::sink()).ok()?;
    (skipped == count).then_some(())
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
