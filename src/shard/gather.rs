//! Payloads of many records at once: those that stand beside each other in the log are read in one
//! go, and all of them into one buffer.
//!
//! Each is checked as one that is read alone; what cannot be read together is read alone, which says
//! what is wrong with it. A payload keeps the buffer of all: it is for answers on their way out.

use super::error::ShardError;
use super::reader::Found;
use crate::log::Segment;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Bytes between two payloads that are read rather than skipped: about the header, the key and the
/// attributes of a record.
const GAP_MAX: u64 = 256;

/// Bytes of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    /// Which file, by a number of its own.
    file: usize,
    bytes: Range<u64>,
}

/// Stretches that are read together, and where they go in the buffer.
#[derive(Debug, PartialEq, Eq)]
struct Run {
    whole: Stretch,
    /// The first of them, by its number.
    first: usize,
    at: usize,
}

/// A payload to be read.
struct Wanted<'a> {
    number: usize,
    segment: &'a Arc<Segment>,
    stretch: Stretch,
}

/// The payloads of records in their order. May wait for the disk.
///
/// # Errors
/// Each as [`Found::payload`].
pub fn payloads(found: &[&Found]) -> Vec<Result<Bytes, ShardError>> {
    let mut payloads = read_together(found);
    let each = found.iter().zip(&mut payloads);
    each.map(|(found, read)| match read.take() {
        Some(payload) => found.checked(payload),
        None => found.payload(),
    })
    .collect()
}

/// What can be read together; `None` for what must be read alone.
fn read_together(found: &[&Found]) -> Vec<Option<Bytes>> {
    let mut payloads = vec![None; found.len()];
    let mut wanted: Vec<Wanted<'_>> = found.iter().enumerate().filter_map(wanted).collect();
    wanted.sort_unstable_by_key(|it| (it.stretch.file, it.stretch.bytes.start));
    let (runs, len) = runs_of(wanted.iter().map(|it| &it.stretch));
    let mut buffer = vec![0; len];
    for run in &runs {
        let end = run.at + len_of(&run.whole.bytes);
        let segment = wanted[run.first].segment;
        let read = segment.read_into(run.whole.bytes.start, &mut buffer[run.at..end]);
        if read.is_err() {
            return payloads;
        }
    }
    let buffer = Bytes::from(buffer);
    let ends = runs.iter().skip(1).map(|run| run.first);
    let ends = ends.chain([wanted.len()]);
    for (run, end) in runs.iter().zip(ends) {
        for Wanted {
            number, stretch, ..
        } in &wanted[run.first..end]
        {
            let at = run.at + len_of(&(run.whole.bytes.start..stretch.bytes.start));
            payloads[*number] = Some(buffer.slice(at..at + len_of(&stretch.bytes)));
        }
    }
    payloads
}

fn wanted<'a>((number, found): (usize, &&'a Found)) -> Option<Wanted<'a>> {
    let place = &found.row.place;
    let bytes = place.payload_offset..place.payload_offset + u64::from(place.payload_len);
    let segment = found
        .segment()
        .ok()
        .filter(|_| found.row.inline.is_none())?;
    let file = Arc::as_ptr(segment) as usize;
    Some(Wanted {
        number,
        segment,
        stretch: Stretch { file, bytes },
    })
}

/// The runs of stretches that come in the order in which they stand, and the bytes of all.
fn runs_of<'a>(stretches: impl Iterator<Item = &'a Stretch>) -> (Vec<Run>, usize) {
    let mut runs: Vec<Run> = Vec::new();
    let mut len = 0;
    for (number, stretch) in stretches.enumerate() {
        let Stretch { file, bytes } = stretch;
        let last = runs.last_mut().map(|run| &mut run.whole);
        let last = last.filter(|it| it.file == *file && bytes.start <= it.bytes.end + GAP_MAX);
        match last {
            Some(whole) => {
                let end = bytes.end.max(whole.bytes.end);
                len += len_of(&(whole.bytes.end..end));
                whole.bytes.end = end;
            }
            None => {
                runs.push(Run {
                    whole: stretch.clone(),
                    first: number,
                    at: len,
                });
                len += len_of(bytes);
            }
        }
    }
    (runs, len)
}

fn len_of(bytes: &Range<u64>) -> usize {
    usize::try_from(bytes.end - bytes.start).expect("an answer is in memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(file: usize, bytes: Range<u64>) -> Stretch {
        Stretch { file, bytes }
    }

    #[test]
    fn what_stands_close_together_is_read_in_one_go() {
        let near = 200 + GAP_MAX;
        let far = near + 101 + GAP_MAX;
        let all = [
            stretch(1, 100..200),
            stretch(1, 100..150),
            stretch(1, near..near + 100),
            stretch(1, far..far + 10),
            stretch(2, far + 10..far + 20),
        ];
        let (runs, len) = runs_of(all.iter());
        let run = |first, whole, at| Run { whole, first, at };
        let read = len_of(&(100..near + 100));
        let expected = [
            run(0, stretch(1, 100..near + 100), 0),
            run(3, stretch(1, far..far + 10), read),
            run(4, stretch(2, far + 10..far + 20), read + 10),
        ];
        assert_eq!(runs, expected);
        assert_eq!(len, read + 20);
    }
}
