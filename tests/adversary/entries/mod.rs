//! Where bytes that nobody vouches for come in, each as one function of those bytes. `mutations`
//! feeds them in every run of the tests, and the targets of `fuzz/` for as long as one likes.
//!
//! An entry returns whatever it is given, or panics: then it has found something. Formats that carry
//! checksums are also read with the checksums mended, because a reader that is only ever shown
//! broken sums proves nothing about what comes after them.

// Each user takes its own part of these.
#![allow(dead_code)]

mod archive;
mod config;
pub mod front;
mod segment;
mod zstdb;

pub use archive::{archive, mended as mended_archive};
pub use config::config;
pub use segment::segment;
pub use zstdb::zstdb;

use std::path::Path;
use tempfile::TempDir;

/// What a value may unfold to here: enough for every real one, too little for a bomb to be slow.
const RAW_MAX: u64 = 64 << 20;

/// A folder of this thread's own, in memory where there is one.
fn with_scratch<T>(use_it: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static DIR: TempDir = {
            let memory = Path::new("/dev/shm");
            let made = match memory.is_dir() {
                true => tempfile::tempdir_in(memory),
                false => tempfile::tempdir(),
            };
            made.unwrap()
        };
    }
    DIR.with(|dir| use_it(dir.path()))
}

/// The little-endian number at an offset, if it is there.
fn number<const SIZE: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..SIZE].copy_from_slice(bytes.get(at..at.checked_add(SIZE)?)?);
    Some(u64::from_le_bytes(number))
}

/// Writes a number over the bytes at an offset that is there.
fn put(bytes: &mut [u8], at: usize, number: u64) {
    bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
}
