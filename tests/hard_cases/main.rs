//! The hard cases of the design (section 7), each with the tests that fail without what it asks
//! for. `README.md` beside this file says which test belongs to which case, and which change of the
//! code each was seen to fail under.

#[path = "../support/mod.rs"]
mod support;

mod bench;
mod faults;
mod forge;
mod house;

mod answers;
mod archives;
mod batches;
mod content_keys;
mod cut;
mod dictionaries;
mod expiry;
mod full_disk;
mod gc;
mod large;
mod limits;
mod losses;
mod page_cache;
mod purge;
mod readers;
mod recent;
mod references;
mod reserve;
mod time;
mod tombstones;
mod torn;
mod transactions;
