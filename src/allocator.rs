//! How soon freed memory goes back to the system.
//!
//! mimalloc keeps what is freed for a second, in case it is needed again. Values of some MiB that come
//! and go on several threads then take a multiple of what is in use, which no budget of ours counts.
//!
//! This is the only module with unsafe code: the allocator's options have no safe interface.

use libmimalloc_sys::{mi_option_get, mi_option_set, mi_option_t};
use std::ffi::c_long;

/// `mi_option_purge_delay` of mimalloc 3; the bindings do not name it.
const PURGE_DELAY: mi_option_t = 15;
/// What it is when nobody has set it, in milliseconds.
const UNSET: c_long = 1000;
/// Milliseconds. Long enough that a value's buffers are often used again before they are given back.
const SOON: c_long = 30;

/// Has freed memory given back after [`SOON`], unless the environment says otherwise
/// (`MIMALLOC_PURGE_DELAY`). An option that does not hold what that one holds is left alone, so that
/// another version of mimalloc, with other numbers, is never told nonsense.
pub fn return_memory_soon() {
    // SAFETY: both take any number: one that names no option reads as 0, and is then not set. They
    // read and write one word of a static table.
    #[expect(unsafe_code, reason = "see above")]
    unsafe {
        if mi_option_get(PURGE_DELAY) == UNSET {
            mi_option_set(PURGE_DELAY, SOON);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_there_and_is_set() {
        return_memory_soon();
        // SAFETY: as above.
        #[expect(unsafe_code, reason = "it reads one word")]
        let delay = unsafe { mi_option_get(PURGE_DELAY) };
        assert_eq!(delay, SOON);
    }
}
